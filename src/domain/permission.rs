//! Who may do what: one pure function.

use super::failure::codes;
use super::id::{OrgId, PrincipalId, WorkspaceId};
use super::plan::Plan;

codes! {
    /// What a principal is in an organization, from most to least.
    Role {
        Owner = "owner",
        Admin = "admin",
        Builder = "builder",
        Operator = "operator",
        Viewer = "viewer",
    }
}

codes! {
    /// What can be done, as routes declare it and keys are scoped to.
    Permission {
        OverviewRead = "overview:read",
        AgentsRead = "agents:read",
        /// Make and change agents; whoever may edit an agent may use what it may use.
        AgentsWrite = "agents:write",
        RunsRead = "runs:read",
        RunsStart = "runs:start",
        /// Stop, pause, resume, retry, discard, fork and verify runs.
        RunsCancel = "runs:cancel",
        /// Post messages to runs.
        RunsMessage = "runs:message",
        ApprovalsRead = "approvals:read",
        ApprovalsDecide = "approvals:decide",
        /// See the organization: its name, plan, workspaces and members.
        OrgRead = "org:read",
        /// Change the organization's name and its workspaces.
        OrgManage = "org:manage",
        /// Hand the organization over, or delete it.
        OrgOwn = "org:own",
        /// Invite, change and remove members, and adopt what they leave behind.
        MembersManage = "members:manage",
        /// Make and revoke one's own keys.
        KeysOwn = "keys:own",
        /// See and revoke everybody's keys; make services and their keys.
        KeysManage = "keys:manage",
        PolicyRead = "policy:read",
        PolicyManage = "policy:manage",
        AuditRead = "audit:read",
        /// See providers, model aliases and prices.
        ModelsRead = "models:read",
        /// Change providers, their keys, model aliases and prices.
        ModelsManage = "models:manage",
        /// See what was spent, and the budgets.
        CostsRead = "costs:read",
        /// Change budgets, raise them, and change where alerts go.
        BudgetsManage = "budgets:manage",
        /// See which secrets there are; nobody sees their values.
        SecretsRead = "secrets:read",
        SecretsManage = "secrets:manage",
        /// Look after the station itself: organizations, plans, mail, security. Of station admins only.
        StationManage = "station:manage",
    }
}

impl Permission {
    /// The least role that has it; `None` where no role gives it.
    pub const fn least_role(self) -> Option<Role> {
        Some(match self {
            Self::OverviewRead
            | Self::AgentsRead
            | Self::RunsRead
            | Self::ApprovalsRead
            | Self::OrgRead
            | Self::KeysOwn
            | Self::PolicyRead
            | Self::ModelsRead
            | Self::CostsRead => Role::Viewer,
            Self::RunsStart | Self::RunsCancel | Self::RunsMessage | Self::ApprovalsDecide => Role::Operator,
            Self::AgentsWrite | Self::SecretsRead => Role::Builder,
            Self::OrgManage
            | Self::MembersManage
            | Self::KeysManage
            | Self::PolicyManage
            | Self::AuditRead
            | Self::ModelsManage
            | Self::BudgetsManage
            | Self::SecretsManage => Role::Admin,
            Self::OrgOwn => Role::Owner,
            Self::StationManage => return None,
        })
    }

    /// What it allows, for lists of scopes and the page of roles.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::OverviewRead => "See the overview",
            Self::AgentsRead => "See agents and their code",
            Self::AgentsWrite => "Make and change agents, and use what they may use",
            Self::RunsRead => "See runs and their timelines",
            Self::RunsStart => "Start runs",
            Self::RunsCancel => "Stop, pause, retry, verify and fork runs",
            Self::RunsMessage => "Post messages to runs",
            Self::ApprovalsRead => "See what waits for a decision",
            Self::ApprovalsDecide => "Decide what waits for a decision",
            Self::OrgRead => "See the organization, its workspaces and members",
            Self::OrgManage => "Change the organization and its workspaces",
            Self::OrgOwn => "Hand the organization over or delete it",
            Self::MembersManage => "Invite, change and remove members",
            Self::KeysOwn => "Make and revoke one’s own API keys",
            Self::KeysManage => "Manage everybody’s API keys, and services",
            Self::PolicyRead => "See the policy",
            Self::PolicyManage => "Change the policy",
            Self::AuditRead => "Read the audit log",
            Self::ModelsRead => "See model providers, aliases and prices",
            Self::ModelsManage => "Change model providers, aliases and prices",
            Self::CostsRead => "See what was spent, and the budgets",
            Self::BudgetsManage => "Change budgets and where alerts go",
            Self::SecretsRead => "See which secrets there are",
            Self::SecretsManage => "Set, change and remove secrets",
            Self::StationManage => "Look after the station itself",
        }
    }
}

impl Role {
    const fn rank(self) -> u8 {
        match self {
            Self::Owner => 4,
            Self::Admin => 3,
            Self::Builder => 2,
            Self::Operator => 1,
            Self::Viewer => 0,
        }
    }

    pub const fn is_at_least(self, other: Self) -> bool {
        self.rank() >= other.rank()
    }

    /// Whether the role gives a permission.
    pub const fn gives(self, permission: Permission) -> bool {
        match permission.least_role() {
            Some(least) => self.is_at_least(least),
            None => false,
        }
    }

    /// What somebody of this role is there for, for the page of roles.
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Owner => "Answers for the organization: can do everything in it, hand it over and delete it.",
            Self::Admin => "Looks after people, keys and the policy, and sees who did what.",
            Self::Builder => "Makes and changes agents.",
            Self::Operator => "Starts, stops and answers runs, and decides what they ask.",
            Self::Viewer => "Sees what is there, and changes nothing.",
        }
    }
}

codes! {
    /// What a principal is.
    PrincipalKind {
        User = "user",
        /// A program with keys of its own: it does not sign in.
        Service = "service",
    }
}

codes! {
    /// How the actor proved who it is.
    Credential {
        Session = "session",
        ApiKey = "api_key",
        /// The operator's own shell, or the station on a principal's behalf.
        Local = "local",
    }
}

/// Who acts, in which organization and workspace, with which rights, now.
#[derive(Clone, Debug)]
pub struct Actor {
    pub principal: PrincipalId,
    pub name: String,
    pub org: OrgId,
    pub workspace: WorkspaceId,
    /// Whether the workspace was named or is the only one; otherwise it is the organization's first.
    pub workspace_is_clear: bool,
    pub plan: Plan,
    pub role: Role,
    /// Whether it looks after the station itself.
    pub station_admin: bool,
    pub credential: Credential,
    /// Which one: a key's public part, a session's id.
    pub credential_id: Option<String>,
    /// Of an API key: what it is limited to. `None` is everything its principal may do.
    pub scopes: Option<Vec<Permission>>,
}

/// What is acted upon: everything belongs to an organization.
#[derive(Clone, Copy, Debug)]
pub struct Resource {
    pub org: OrgId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Allow,
    Deny(DenyReason),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenyReason {
    /// Another organization's: to be answered as if it were not there.
    Foreign,
    Role,
    Scope,
}

/// The one decision on people and keys.
pub fn authorize(actor: &Actor, permission: Permission, resource: Resource) -> Access {
    if actor.org != resource.org {
        return Access::Deny(DenyReason::Foreign);
    }
    let held = match permission.least_role() {
        Some(least) => actor.role.is_at_least(least),
        None => actor.station_admin,
    };
    if !held {
        return Access::Deny(DenyReason::Role);
    }
    // What no role gives is never in a key by default: its maker says so.
    if actor.credential == Credential::ApiKey && permission.least_role().is_none() && actor.scopes.is_none() {
        return Access::Deny(DenyReason::Scope);
    }
    if actor.scopes.as_ref().is_some_and(|scopes| !scopes.contains(&permission)) {
        return Access::Deny(DenyReason::Scope);
    }
    Access::Allow
}

/// Whether an actor may make somebody this: nobody gives what they do not hold, now and with this credential.
pub fn may_give(actor: &Actor, role: Role) -> bool {
    let own = Resource { org: actor.org };
    let mut given = Permission::ALL.iter().filter(|&&permission| role.gives(permission));
    actor.role.is_at_least(role) && given.all(|&permission| authorize(actor, permission, own) == Access::Allow)
}

#[cfg(test)]
mod tests {
    use super::super::time::Timestamp;
    use super::*;

    fn actor(role: Role, scopes: Option<Vec<Permission>>) -> Actor {
        let now = Timestamp::from_ms(1);
        Actor {
            principal: PrincipalId::new(now),
            name: "Ana".to_owned(),
            org: OrgId::new(now),
            workspace: WorkspaceId::new(now),
            workspace_is_clear: true,
            plan: Plan::Free,
            role,
            station_admin: false,
            credential: Credential::Session,
            credential_id: None,
            scopes,
        }
    }

    #[test]
    fn a_higher_role_may_do_all_that_a_lower_one_may() {
        for &permission in Permission::ALL {
            for &low in Role::ALL {
                for &high in Role::ALL {
                    let (low_actor, high_actor) = (actor(low, None), actor(high, None));
                    let may = |a: &Actor| authorize(a, permission, Resource { org: a.org }) == Access::Allow;
                    assert!(
                        !high.is_at_least(low) || !may(&low_actor) || may(&high_actor),
                        "{permission} {low} {high}"
                    );
                }
            }
        }
    }

    #[test]
    fn only_station_admins_look_after_the_station_whatever_their_role() {
        let owner = actor(Role::Owner, None);
        let may = |a: &Actor| authorize(a, Permission::StationManage, Resource { org: a.org });
        assert_eq!(may(&owner), Access::Deny(DenyReason::Role));
        let admin = Actor {
            station_admin: true,
            ..actor(Role::Viewer, None)
        };
        assert_eq!(may(&admin), Access::Allow);
        assert_eq!(
            authorize(&admin, Permission::OrgManage, Resource { org: admin.org }),
            Access::Deny(DenyReason::Role)
        );
    }

    #[test]
    fn a_key_looks_after_the_station_only_where_its_scopes_say_so() {
        let key = |scopes| Actor {
            station_admin: true,
            credential: Credential::ApiKey,
            ..actor(Role::Owner, scopes)
        };
        let may = |a: &Actor| authorize(a, Permission::StationManage, Resource { org: a.org });
        assert_eq!(may(&key(None)), Access::Deny(DenyReason::Scope));
        assert_eq!(may(&key(Some(vec![Permission::OrgRead]))), Access::Deny(DenyReason::Scope));
        assert_eq!(may(&key(Some(vec![Permission::StationManage]))), Access::Allow);
    }

    #[test]
    fn nobody_gives_more_than_they_hold_with_this_credential() {
        assert!(may_give(&actor(Role::Admin, None), Role::Admin));
        assert!(!may_give(&actor(Role::Admin, None), Role::Owner));
        let narrow = actor(Role::Owner, Some(vec![Permission::MembersManage]));
        for &role in Role::ALL {
            assert!(!may_give(&narrow, role), "{role}");
        }
    }

    #[test]
    fn another_organization_is_foreign_even_to_an_owner() {
        let (ana, bob) = (actor(Role::Owner, None), actor(Role::Owner, None));
        for &permission in Permission::ALL {
            assert_eq!(
                authorize(&ana, permission, Resource { org: bob.org }),
                Access::Deny(DenyReason::Foreign)
            );
        }
    }

    #[test]
    fn a_scope_limits_and_never_adds() {
        let narrow = actor(Role::Owner, Some(vec![Permission::RunsRead]));
        assert_eq!(
            authorize(&narrow, Permission::RunsRead, Resource { org: narrow.org }),
            Access::Allow
        );
        assert_eq!(
            authorize(&narrow, Permission::RunsStart, Resource { org: narrow.org }),
            Access::Deny(DenyReason::Scope)
        );
        let viewer = actor(Role::Viewer, Some(vec![Permission::RunsStart]));
        assert_eq!(
            authorize(&viewer, Permission::RunsStart, Resource { org: viewer.org }),
            Access::Deny(DenyReason::Role)
        );
    }
}
