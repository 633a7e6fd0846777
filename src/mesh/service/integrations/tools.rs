//! STUB.

use serde::Serialize;

use crate::mesh::call::grant::Granted;
use crate::mesh::call::operation::{IntegrationRead, Operation, Subject};
use crate::mesh::call::tool::Tool;
use crate::mesh::integration::ServiceId;
use crate::mesh::limit::Cost;
use crate::mesh::{Error, ErrorKind};

/// McpListTools.
#[derive(Debug)]
pub struct McpListTools {
    /// Only of this integration.
    pub service: Option<ServiceId>,
    /// What is wanted, in words.
    pub query: Option<String>,
    /// How much of each.
    pub detail: Detail,
    /// How many at most.
    pub limit: u32,
    /// Where the page before ended, as it stood in the cursor.
    pub position: Option<String>,
}

/// What [`McpListTools`] answers.
#[derive(Debug, Serialize)]
pub struct McpListToolsAnswer {}

impl Operation for McpListTools {
    const TOOL: Tool = Tool::McpListTools;
    type Needs = IntegrationRead;
    type Answer = McpListToolsAnswer;

    fn subject(&self) -> Subject {
        Subject::none()
    }

    fn cost(&self) -> Cost {
        Cost::NONE
    }

    async fn serve<'call>(self, _: &Granted<'call, Self>) -> Result<McpListToolsAnswer, Error> {
        Err(Error::new(ErrorKind::NotSupported, "not yet"))
    }
}

impl McpListTools {
    /// What a cursor of this listing is bound to.
    pub fn filters(&self) -> Vec<String> {
        Vec::new()
    }
}

/// How much of each tool is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Its name.
    Name,
    /// And what it does.
    Summary,
    /// And its arguments.
    Schema,
}

/// The most tools of one page.
pub const LIMIT_MAX: u32 = 200;

/// The longest query.
pub const QUERY_BYTES_MAX: usize = 1000;
