//! The only place that reads the WIT. Imports are linked by hand in `host`, because a host function needs the fuel used so far.

pub(crate) mod agent {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "agent",
        exports: { default: async },
    });
}

pub(crate) mod javascript {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "javascript-runtime",
        exports: { default: async },
        with: {
            "agentstation:agent/types": super::agent::agentstation::agent::types,
            "agentstation:agent/models": super::agent::agentstation::agent::models,
            "agentstation:agent/http": super::agent::agentstation::agent::http,
            "agentstation:agent/memory": super::agent::agentstation::agent::memory,
            "agentstation:agent/artifacts": super::agent::agentstation::agent::artifacts,
            "agentstation:agent/timeline": super::agent::agentstation::agent::timeline,
            "agentstation:agent/calls": super::agent::agentstation::agent::calls,
            "agentstation:agent/clock": super::agent::agentstation::agent::clock,
            "agentstation:agent/random": super::agent::agentstation::agent::random,
            "agentstation:agent/waits": super::agent::agentstation::agent::waits,
            "agentstation:agent/agents": super::agent::agentstation::agent::agents,
            "agentstation:agent/inbox": super::agent::agentstation::agent::inbox,
            "agentstation:agent/tools": super::agent::agentstation::agent::tools,
            "agentstation:agent/approvals": super::agent::agentstation::agent::approvals,
        },
    });
}

pub(crate) use agent::agentstation::agent as wit;

/// The ABI version that this build links; segments record it.
pub const WIT_VERSION: &str = "0.1.0";

/// Every ABI version that this build links; a released one stays here.
pub const WIT_VERSIONS: &[&str] = &[WIT_VERSION];
