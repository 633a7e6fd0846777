//! Roles and the permissions they hold.

use std::str::FromStr;

/// What a tool may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Permission {
    /// Read values.
    KvRead,
    /// Write and delete values.
    KvWrite,
    /// Read and list artifacts.
    ArtifactsRead,
    /// Write and delete artifacts.
    ArtifactsWrite,
    /// Read one's own events.
    EventsRead,
    /// Send events.
    EventsSend,
    /// Read every user's events of the tenant.
    EventsReadAll,
    /// See workflow runs.
    WorkflowRead,
    /// Start and stop workflows.
    WorkflowRun,
    /// See integrations and their tools.
    IntegrationRead,
    /// Connect and disconnect integrations.
    IntegrationConnect,
    /// Register, unregister and approve integrations.
    IntegrationManage,
    /// Call tools of integrated servers.
    ProxyCall,
    /// Make and remove event rules.
    RulesManage,
    /// Make and remove alerts.
    AlertsManage,
    /// See the health of what the tenant uses.
    HealthRead,
}

impl Permission {
    /// Every permission.
    pub const ALL: [Self; 16] = [
        Self::KvRead,
        Self::KvWrite,
        Self::ArtifactsRead,
        Self::ArtifactsWrite,
        Self::EventsRead,
        Self::EventsSend,
        Self::EventsReadAll,
        Self::WorkflowRead,
        Self::WorkflowRun,
        Self::IntegrationRead,
        Self::IntegrationConnect,
        Self::IntegrationManage,
        Self::ProxyCall,
        Self::RulesManage,
        Self::AlertsManage,
        Self::HealthRead,
    ];

    /// The name in scopes, errors and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::KvRead => "kv.read",
            Self::KvWrite => "kv.write",
            Self::ArtifactsRead => "artifacts.read",
            Self::ArtifactsWrite => "artifacts.write",
            Self::EventsRead => "events.read",
            Self::EventsSend => "events.send",
            Self::EventsReadAll => "events.read_all",
            Self::WorkflowRead => "workflow.read",
            Self::WorkflowRun => "workflow.run",
            Self::IntegrationRead => "integration.read",
            Self::IntegrationConnect => "integration.connect",
            Self::IntegrationManage => "integration.manage",
            Self::ProxyCall => "proxy.call",
            Self::RulesManage => "rules.manage",
            Self::AlertsManage => "alerts.manage",
            Self::HealthRead => "health.read",
        }
    }

    /// The permission of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|permission| permission.name() == name)
    }
}

/// A set of permissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PermissionSet(u32);

impl PermissionSet {
    /// The set that holds nothing.
    pub const EMPTY: Self = Self(0);

    /// The set of every permission.
    pub const ALL: Self = Self::of(&Permission::ALL);

    /// The set of `permissions`.
    pub const fn of(permissions: &[Permission]) -> Self {
        let mut bits = 0;
        let mut index = 0;
        while index < permissions.len() {
            bits |= 1 << permissions[index] as u8;
            index += 1;
        }
        Self(bits)
    }

    /// Whether `permission` is in the set.
    pub const fn contains(self, permission: Permission) -> bool {
        self.0 & (1 << permission as u8) != 0
    }

    /// What both sets hold.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What either set holds.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The permissions that `scope` names (separated by spaces, as in OAuth); other words are not ours
    /// and are passed over.
    pub fn of_scope(scope: &str) -> Self {
        scope
            .split_ascii_whitespace()
            .filter_map(Permission::named)
            .fold(Self::EMPTY, |set, permission| {
                set.union(Self::of(&[permission]))
            })
    }

    /// The permissions in the set, in the order of [`Permission::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL
            .into_iter()
            .filter(move |&permission| self.contains(permission))
    }
}

/// What a caller is to its tenant; the greater role may do all that the lesser one may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads and writes what is its own or shared.
    User,
    /// Also manages rules, alerts and integrations, and reads every user's events.
    Admin,
}

/// Why a text is no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role is viewer, user or admin")]
pub struct InvalidRole;

impl Role {
    /// The name in tokens and settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::User => "user",
            Self::Admin => "admin",
        }
    }

    /// The least role that may do all of `permissions`.
    pub fn least_with(permissions: PermissionSet) -> Self {
        let may = |role: &Self| role.permissions().intersection(permissions) == permissions;
        [Self::Viewer, Self::User]
            .into_iter()
            .find(may)
            .unwrap_or(Self::Admin)
    }

    /// All that the role may do.
    pub const fn permissions(self) -> PermissionSet {
        use Permission::*;
        const VIEWER: PermissionSet = PermissionSet::of(&[
            KvRead,
            ArtifactsRead,
            EventsRead,
            WorkflowRead,
            IntegrationRead,
            HealthRead,
        ]);
        const USER: PermissionSet = VIEWER.union(PermissionSet::of(&[
            KvWrite,
            ArtifactsWrite,
            EventsSend,
            WorkflowRun,
            IntegrationConnect,
            ProxyCall,
        ]));
        const ADMIN: PermissionSet = USER.union(PermissionSet::of(&[
            EventsReadAll,
            RulesManage,
            AlertsManage,
            IntegrationManage,
        ]));
        match self {
            Self::Viewer => VIEWER,
            Self::User => USER,
            Self::Admin => ADMIN,
        }
    }
}

impl FromStr for Role {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        [Self::Viewer, Self::User, Self::Admin]
            .into_iter()
            .find(|role| role.name() == text)
            .ok_or(InvalidRole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_role_holds_what_the_lesser_one_holds() {
        let (viewer, user, admin) = (
            Role::Viewer.permissions(),
            Role::User.permissions(),
            Role::Admin.permissions(),
        );
        assert_eq!(
            (
                viewer.iter().count(),
                user.iter().count(),
                admin.iter().count()
            ),
            (6, 12, 16)
        );
        assert_eq!(user.intersection(viewer), viewer);
        assert_eq!(admin.intersection(user), user);
    }

    #[test]
    fn the_least_role_holds_what_is_asked_for_and_the_one_below_does_not() {
        for role in [Role::Viewer, Role::User, Role::Admin] {
            assert_eq!(Role::least_with(role.permissions()), role);
        }
        assert_eq!(Role::least_with(PermissionSet::EMPTY), Role::Viewer);
    }

    #[test]
    fn a_scope_names_permissions_and_passes_over_the_rest() {
        let set = PermissionSet::of_scope("openid kv.read  events.send kv.everything");
        assert_eq!(
            set.iter().map(Permission::name).collect::<Vec<_>>(),
            ["kv.read", "events.send"]
        );
    }
}
