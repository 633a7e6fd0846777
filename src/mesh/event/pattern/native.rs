//! From a caller's pattern to one that EventBridge holds against a bus that many tenants share.

use super::fault::{PatternFault, Place};
use super::json::Json;
use super::{CHARS_MAX, Pattern, compile};
use crate::mesh::Error;
use crate::mesh::event::detail::bus_source;
use crate::mesh::tenant::TenantId;

/// The members of an event on the bus that a caller's pattern may speak of. All others are not the caller's
/// to choose by (`source`, `account`, ...), or are of our own events alone, which need no rule on the bus.
pub const NATIVE_MEMBERS: [&str; 2] = ["detail-type", "detail"];

/// The most `*` in a pattern for the bus. EventBridge takes 30 rules with wildcards on a bus, whoever made
/// them, and refuses those that it finds too complex.
pub const NATIVE_WILDCARDS_MAX: usize = 8;

/// The longest name of a rule on the bus.
pub const BUS_NAME_CHARS_MAX: usize = 64;

impl Pattern {
    /// The pattern for the bus, as JSON text: what the caller asks, of `tenant`'s source alone. It is for a
    /// pattern in a caller's terms.
    ///
    /// # Errors
    /// The pattern speaks of more than [`NATIVE_MEMBERS`], or is too large for a bus.
    pub fn on_bus(&self, tenant: &TenantId) -> Result<String, PatternFault> {
        let json = &self.0.json;
        native_members(json, &Place::ROOT)?;
        if self.0.size.wildcards > NATIVE_WILDCARDS_MAX {
            return Err(PatternFault::whole(format!(
                "the pattern of a native rule has at most {NATIVE_WILDCARDS_MAX} * in all of its wildcards; use prefix \
                 and suffix"
            )));
        }
        let Json::Object(members) = json else {
            return Err(PatternFault::whole("a pattern is an object"));
        };
        let mut forced = members.clone();
        let source = Json::Text(bus_source(tenant.as_str()));
        forced.push(("source".to_owned(), Json::List(vec![source])));
        let text = Json::Object(forced).canonical();
        let length = text.encode_utf16().count();
        if length > CHARS_MAX {
            return Err(PatternFault::whole(format!(
                "with your source, which is added, the pattern has {length} characters, and EventBridge takes \
                 {CHARS_MAX}; make it shorter, or two rules of it"
            )));
        }
        Ok(text)
    }
}

/// What the names of a tenant's rules on the bus begin with. No tenant's id holds a dot, so that no name
/// begins so which is another tenant's.
pub fn bus_name_prefix(tenant: &TenantId) -> String {
    format!("agent-mesh.{tenant}.")
}

/// The name on the bus of the tenant's rule `name`.
///
/// # Errors
/// `INVALID_PARAMETER` where it would be too long.
pub fn bus_name(tenant: &TenantId, name: &str) -> Result<String, Error> {
    let prefix = bus_name_prefix(tenant);
    let most = BUS_NAME_CHARS_MAX - prefix.len();
    if name.len() > most {
        let message = format!("the name of a native rule has at most {most} characters here");
        return Err(Error::invalid("name", message).fix("Choose a shorter name."));
    }
    Ok(prefix + name)
}

fn native_members(json: &Json, place: &Place<'_>) -> Result<(), PatternFault> {
    let Json::Object(members) = json else {
        return Ok(());
    };
    for (name, value) in members {
        let place = place.member(name);
        if name == compile::OR {
            if let Json::List(branches) = value {
                for (index, branch) in branches.iter().enumerate() {
                    native_members(branch, &place.element(index))?;
                }
            }
        } else if !NATIVE_MEMBERS.contains(&name.as_str()) {
            return Err(place.fault(format!(
                "a native rule chooses by {} alone, among the events under your own source; leave this member out, \
                 or make a rule that is not native",
                NATIVE_MEMBERS.join(" and ")
            )));
        }
    }
    Ok(())
}
