//! Looks at uploaded bytes before anything compiles them: size, shape, imports. Linear in the size of the input.

use wasmparser::{ComponentExternalKind, Encoding, Operator, Parser, Payload};

use super::host::{INTERFACES, interface_name};
use crate::domain::limits::CODE_BYTES_MAX;

const MODULES_MAX: usize = 64;
const FUNCTIONS_MAX: u32 = 50_000;
const FUNCTION_BYTES_MAX: u64 = 256 * 1024;
const LOCALS_MAX: u64 = 2_000;
const NESTING_MAX: u32 = 256;
const BRANCH_TARGETS_MAX: u32 = 4_096;
/// Blocks times locals is what makes the compiler slow beyond measure.
const BLOCKS_PER_FUNCTION_MAX: u32 = 20_000;

const COMPILED_MAGIC: [&[u8]; 2] = [b"\x7fELF", b"\xcf\xfa\xed\xfe"];

/// What the bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A bare core module: it is made into a component first.
    Module,
    Component,
}

/// Checks the shape of uploaded code.
///
/// # Errors
/// What is wrong, for the author.
pub fn check(bytes: &[u8]) -> Result<Form, String> {
    if bytes.len() > CODE_BYTES_MAX {
        return Err(format!("it is {} bytes, the limit is {CODE_BYTES_MAX}", bytes.len()));
    }
    if COMPILED_MAGIC.iter().any(|magic| bytes.starts_with(magic)) {
        return Err("it is compiled machine code; upload the WebAssembly it was made from".to_owned());
    }
    if !bytes.starts_with(b"\0asm") {
        return Err("it is no WebAssembly: it does not begin with \\0asm".to_owned());
    }
    let mut form = None;
    let mut modules = 0;
    let mut depth = 0_u32;
    let mut functions = 0_u32;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(malformed)? {
            Payload::Version { encoding, .. } => {
                depth += 1;
                if form.is_none() {
                    form = Some(if encoding == Encoding::Component {
                        Form::Component
                    } else {
                        Form::Module
                    });
                }
                modules += 1;
                if modules > MODULES_MAX {
                    return Err(format!("it holds more than {MODULES_MAX} modules and components"));
                }
            }
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CodeSectionStart { count, .. } => {
                functions = functions.saturating_add(count);
                if functions > FUNCTIONS_MAX {
                    return Err(format!("it has more than {FUNCTIONS_MAX} functions"));
                }
            }
            Payload::CodeSectionEntry(body) => check_function(&body)?,
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    check_import(import.map_err(malformed)?.name.name)?;
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    let export = export.map_err(malformed)?;
                    if export.kind != ComponentExternalKind::Func
                        && export.kind != ComponentExternalKind::Instance
                        && export.kind != ComponentExternalKind::Type
                    {
                        return Err(format!("it exports {}, which is no function", export.name.name));
                    }
                }
            }
            _ => {}
        }
    }
    form.ok_or_else(|| "it is empty".to_owned())
}

fn malformed(error: wasmparser::BinaryReaderError) -> String {
    format!("it is damaged or cut off at byte {}: {}", error.offset(), error.message())
}

/// Imports must be ours, by name.
fn check_import(name: &str) -> Result<(), String> {
    if INTERFACES.iter().any(|interface| interface_name(interface) == name) || name == "start" || name == "outcome" || name == "failure" {
        return Ok(());
    }
    let hint = if name.starts_with("wasi:") {
        "; agents have no WASI: build for wasm32-unknown-unknown and use the agentstation:agent interfaces"
    } else if name.starts_with("agentstation:agent/") {
        "; this station links agentstation:agent 0.1.0"
    } else {
        "; an agent may import only agentstation:agent interfaces"
    };
    Err(format!("it imports {name}{hint}"))
}

fn check_function(body: &wasmparser::FunctionBody<'_>) -> Result<(), String> {
    let range = body.range();
    let size = range.end.saturating_sub(range.start);
    if size > FUNCTION_BYTES_MAX {
        return Err(format!("a function has {size} bytes, the limit is {FUNCTION_BYTES_MAX}"));
    }
    let mut locals = 0_u64;
    for local in body.get_locals_reader().map_err(malformed)? {
        locals += u64::from(local.map_err(malformed)?.0);
    }
    if locals > LOCALS_MAX {
        return Err(format!("a function has {locals} locals, the limit is {LOCALS_MAX}"));
    }
    let (mut nesting, mut blocks) = (0_u32, 0_u32);
    for operator in body.get_operators_reader().map_err(malformed)? {
        match operator.map_err(malformed)? {
            Operator::Block { .. } | Operator::Loop { .. } | Operator::If { .. } => {
                nesting += 1;
                blocks += 1;
            }
            Operator::End => nesting = nesting.saturating_sub(1),
            Operator::BrTable { targets } if targets.len() > BRANCH_TARGETS_MAX => {
                return Err(format!(
                    "a branch table has {} targets, the limit is {BRANCH_TARGETS_MAX}",
                    targets.len()
                ));
            }
            _ => {}
        }
        if nesting > NESTING_MAX {
            return Err(format!("blocks are nested deeper than {NESTING_MAX}"));
        }
        if blocks > BLOCKS_PER_FUNCTION_MAX {
            return Err(format!("a function has more than {BLOCKS_PER_FUNCTION_MAX} blocks"));
        }
    }
    Ok(())
}

/// Makes a component of a bare core module with the embedded type section.
///
/// # Errors
/// What the module lacks.
pub fn componentize(module: &[u8]) -> Result<Vec<u8>, String> {
    let mut encoder = wit_component::ComponentEncoder::default();
    encoder.validate(true);
    encoder
        .module(module)
        .map_err(|error| format!("the module carries no component type of this package: {error:#}"))?;
    encoder
        .encode()
        .map_err(|error| format!("the module cannot be made into a component: {error:#}"))
}

#[cfg(test)]
mod tests;
