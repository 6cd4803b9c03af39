//! Reads a file without running it: syntax, imports, exports.

use rquickjs::{Ctx, Module, Object};

use crate::abi::Finding;
use crate::fault::{self, Place};

/// A module that ends every evaluation at once: what imports it before the user's file links that file, and stops.
const STOP: &str = "station:stop";

pub fn check(ctx: &Ctx<'_>, name: &str, source: String) -> Vec<Finding> {
    let text = source.clone();
    let linked = Module::declare(ctx.clone(), name, source)
        .and_then(|_| Module::declare(ctx.clone(), STOP, "throw 0"))
        .and_then(|_| link(ctx, name, "*", "station:imports"));
    if let Err(error) = linked {
        let (message, place) = describe(ctx, name, &error);
        return vec![match fault::unresolved_import(&message) {
            Some(module) => finding(
                find_import(&text, module),
                format!("imports \"{module}\", but an agent is one file and imports nothing"),
            ),
            None => finding(place, message),
        }];
    }
    let exports = |export, probe| link(ctx, name, &format!("{{ {export} }}"), probe).is_ok();
    if exports("default", "station:default") || exports("onMessage", "station:message") {
        return Vec::new();
    }
    ctx.catch();
    vec![finding(
        Place { line: 1, column: 1 },
        "exports nothing to run: write `export default async function run(input, station) { … }` or `export function onMessage(message, station) { … }`".to_owned(),
    )]
}

/// Links the user's file to a probe that imports `what` from it; neither the file nor the probe is run.
fn link(ctx: &Ctx<'_>, name: &str, what: &str, probe: &str) -> rquickjs::Result<()> {
    let what = what.replace('*', "* as agent").replace("default", "default as agent");
    let source = format!("import \"{STOP}\"; import {what} from {};", quote(ctx, name)?);
    Module::declare(ctx.clone(), probe, source)?.eval().map(|_| ())
}

fn quote(ctx: &Ctx<'_>, text: &str) -> rquickjs::Result<String> {
    ctx.json_stringify(text)?
        .map_or_else(|| Ok(String::new()), |quoted| quoted.to_string())
}

fn finding(place: Place, message: String) -> Finding {
    Finding {
        line: place.line,
        column: place.column,
        message,
    }
}

/// What QuickJS says, as `SyntaxError: …`, and where in the file.
fn describe(ctx: &Ctx<'_>, name: &str, error: &rquickjs::Error) -> (String, Place) {
    let Some(thrown) = fault::thrown(ctx, error).and_then(rquickjs::Value::into_object) else {
        return (error.to_string(), Place::default());
    };
    let text = |object: &Object<'_>, key| object.get::<_, String>(key).unwrap_or_default();
    let (place, _) = fault::read_stack(name, &text(&thrown, "stack"));
    (format!("{}: {}", text(&thrown, "name"), text(&thrown, "message")), place)
}

/// The first line that names the module in quotes; QuickJS does not say where an import stands.
fn find_import(source: &str, module: &str) -> Place {
    for (at, line) in source.lines().enumerate() {
        let column = [format!("\"{module}\""), format!("'{module}'")]
            .iter()
            .find_map(|quoted| line.find(quoted));
        if let Some(column) = column {
            let number = |zero_based: usize| u32::try_from(zero_based + 1).unwrap_or(u32::MAX);
            return Place {
                line: number(at),
                column: number(column),
            };
        }
    }
    Place::default()
}
