//! The models that agents of a workspace may ask, by the names they use.

use super::App;
use crate::llm::Model;
use crate::store::Scope;

/// The model of a name in a workspace.
pub fn find(app: &App, _scope: Scope, name: &str) -> Option<Model> {
    app.models.get(name).cloned()
}
