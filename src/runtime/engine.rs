//! The engine: one configuration for every guest, deterministic, metered, pooled.

use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::Semaphore;
use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmFeatures};

use super::bindings::{agent, javascript};
use super::host::{Guest, link};
use super::{Error, host};
use crate::domain::limits::AgentLimits;

/// A guest's own stack; beyond it the guest traps.
const WASM_STACK_BYTES: usize = 1 << 20;
/// The fiber's stack: the guest's, and what host functions need on top.
const FIBER_STACK_BYTES: usize = 2 * 1024 * 1024;
/// Python components have the most core instances known: 35.
const CORE_INSTANCES_PER_COMPONENT: u32 = 40;
const MEMORIES_PER_COMPONENT: u32 = 4;
const TABLES_PER_COMPONENT: u32 = 40;
const TABLE_ELEMENTS: usize = 20_000;
const INSTANCE_BYTES_MAX: usize = 2 << 20;
/// Kept resident in a slot between guests where the kernel can say which pages were touched.
const KEEP_RESIDENT_BYTES: usize = 1 << 20;

/// Scripts that are checked at one time, beside the runs.
const CHECK_SLOTS: u32 = 4;
/// Finished runs that are executed again at one time to verify them, beside the runs.
const VERIFY_SLOTS: u32 = 1;

/// What both the station and the compile child must agree on, or compiled code is refused.
fn base_config() -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(true)
        .epoch_interruption(false)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .concurrency_support(false)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .async_stack_zeroing(true)
        .memory_init_cow(true)
        .generate_address_map(false)
        .wasm_backtrace_max_frames(NonZeroUsize::new(16))
        .memory_reservation(AgentLimits::CEILING.memory_bytes)
        .memory_may_move(false)
        .wasm_features(refused_features(), false);
    config
}

fn refused_features() -> WasmFeatures {
    WasmFeatures::MEMORY64
        | WasmFeatures::MULTI_MEMORY
        | WasmFeatures::TAIL_CALL
        | WasmFeatures::RELAXED_SIMD
        | WasmFeatures::FUNCTION_REFERENCES
        | WasmFeatures::GC
        | WasmFeatures::EXCEPTIONS
        | WasmFeatures::THREADS
}

/// The engine of the compile child: it never executes anything.
///
/// # Errors
/// This machine cannot be compiled for.
pub(super) fn compiler() -> Result<Engine, Error> {
    Engine::new(&base_config()).map_err(Error::internal)
}

/// Where guests execute.
#[derive(Clone)]
pub struct Sandbox {
    pub(super) engine: Engine,
    pub(super) linker: Arc<Linker<Guest>>,
    /// Admission to the slots for checks.
    pub(super) checks: Arc<Semaphore>,
    /// Admission to the slot for verifying; whoever verifies a run holds it.
    pub verifying: Arc<Semaphore>,
    slots: u32,
}

/// A compiled and linked guest, ready for any number of instances.
#[derive(Clone)]
pub struct LinkedGuest(pub(super) Linked);

#[derive(Clone)]
pub(super) enum Linked {
    Agent(Arc<agent::AgentPre<Guest>>),
    Javascript(Arc<javascript::JavascriptRuntimePre<Guest>>),
}

impl std::fmt::Debug for LinkedGuest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Linked::Agent(_) => "agent",
            Linked::Javascript(_) => "javascript",
        })
    }
}

/// Which world a component is to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    Agent,
    JavascriptRuntime,
}

impl Sandbox {
    /// A sandbox for at most `slots` instances that execute at once, and as many that wait; whoever calls keeps to that number.
    ///
    /// # Errors
    /// The address space for the pool cannot be had.
    pub fn new(slots: u32) -> Result<Self, Error> {
        let pooled = slots.saturating_mul(2).saturating_add(CHECK_SLOTS + VERIFY_SLOTS);
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(pooled)
            .total_core_instances(pooled * CORE_INSTANCES_PER_COMPONENT)
            .total_memories(pooled * MEMORIES_PER_COMPONENT)
            .total_tables(pooled * TABLES_PER_COMPONENT)
            .total_stacks(pooled)
            .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
            .max_memories_per_component(MEMORIES_PER_COMPONENT)
            .max_tables_per_component(TABLES_PER_COMPONENT)
            .max_component_instance_size(INSTANCE_BYTES_MAX)
            .max_core_instance_size(INSTANCE_BYTES_MAX)
            .table_elements(TABLE_ELEMENTS)
            .max_memory_size(usize::try_from(AgentLimits::CEILING.memory_bytes).unwrap_or(usize::MAX))
            .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
            .pagemap_scan(Enabled::Auto);
        let mut config = base_config();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config).map_err(Error::internal)?;
        let mut linker = Linker::new(&engine);
        link(&mut linker).map_err(Error::internal)?;
        Ok(Self {
            engine,
            linker: Arc::new(linker),
            checks: Arc::new(Semaphore::new(CHECK_SLOTS as usize)),
            verifying: Arc::new(Semaphore::new(VERIFY_SLOTS as usize)),
            slots,
        })
    }

    pub const fn slots(&self) -> u32 {
        self.slots
    }

    /// Names this engine and its configuration: compiled code and fuel counts of another are not comparable.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.engine)
    }

    /// Links a compiled component into its world.
    ///
    /// # Errors
    /// It imports what no agent may have, or does not export what its world wants.
    pub(super) fn link(&self, component: &Component, world: World) -> Result<LinkedGuest, Error> {
        let pre = self
            .linker
            .instantiate_pre(component)
            .map_err(|error| Error::Refused(format!("its imports do not fit: {error:#}")))?;
        let lacks = |error: wasmtime::Error| {
            Error::Refused(format!(
                "it does not export `run` as {} declares it: {error:#}",
                host::interface_name("…").replace("/…", "")
            ))
        };
        Ok(LinkedGuest(match world {
            World::Agent => Linked::Agent(Arc::new(agent::AgentPre::new(pre).map_err(lacks)?)),
            World::JavascriptRuntime => Linked::Javascript(Arc::new(javascript::JavascriptRuntimePre::new(pre).map_err(lacks)?)),
        }))
    }
}

/// The hash by which wasmtime tells whether compiled code fits an engine.
pub(super) fn fingerprint(engine: &Engine) -> String {
    use std::hash::{Hash as _, Hasher as _};
    // A fixed hasher: the value is written to disk and compared by later processes of the same build.
    let mut hasher = std::hash::DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("wasmtime-48-{:016x}", hasher.finish())
}
