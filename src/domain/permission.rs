//! Who may do what: one pure function.

use super::failure::codes;
use super::id::{OrgId, PrincipalId, WorkspaceId};

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
        AgentsWrite = "agents:write",
        RunsRead = "runs:read",
        RunsStart = "runs:start",
        /// Stop, pause, resume, retry, discard, fork and verify runs.
        RunsCancel = "runs:cancel",
        /// Post messages to runs.
        RunsMessage = "runs:message",
        ApprovalsRead = "approvals:read",
        ApprovalsDecide = "approvals:decide",
        KeysManage = "keys:manage",
        UsersManage = "users:manage",
        AuditRead = "audit:read",
    }
}

impl Permission {
    /// The least role that has it.
    const fn least_role(self) -> Role {
        match self {
            Self::OverviewRead | Self::AgentsRead | Self::RunsRead | Self::ApprovalsRead => Role::Viewer,
            Self::RunsStart | Self::RunsCancel | Self::RunsMessage | Self::ApprovalsDecide => Role::Operator,
            Self::AgentsWrite => Role::Builder,
            Self::KeysManage | Self::UsersManage | Self::AuditRead => Role::Admin,
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
    pub role: Role,
    pub credential: Credential,
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
    if !actor.role.is_at_least(permission.least_role()) {
        return Access::Deny(DenyReason::Role);
    }
    if actor.scopes.as_ref().is_some_and(|scopes| !scopes.contains(&permission)) {
        return Access::Deny(DenyReason::Scope);
    }
    Access::Allow
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
            role,
            credential: Credential::Session,
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
