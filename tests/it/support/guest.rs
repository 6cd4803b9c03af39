//! Tiny agents of hand-written WebAssembly: a core module in text, made to the component that an author would upload.

use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// Where `run` finds room for what it returns: data there is laid out with [`done`].
pub const RESULT: u32 = 64;

/// The data of a `done(output)` at [`RESULT`].
pub fn done(output: &str) -> String {
    const TEXT: u32 = 128;
    // Result: ok at 0; outcome: done at 8; then where the text is and how long.
    let place = u64::from(TEXT) | (output.len() as u64) << 32;
    format!(
        "(data (i32.const {TEXT}) \"{}\") (data (i32.const {}) \"{}\")",
        escaped(output.as_bytes()),
        RESULT + 16,
        escaped(&place.to_le_bytes())
    )
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("\\{byte:02x}"))
}

/// A core module whose `run` has this body; `fields` are what else the module holds.
pub fn module(fields: &str, body: &str) -> Vec<u8> {
    let text = format!(
        "(module
           {fields}
           (memory (export \"memory\") 2)
           (global $free (mut i32) (i32.const 65536))
           (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32)
             (global.set $free (i32.and (i32.add (global.get $free) (i32.const 15)) (i32.const -16)))
             (global.get $free)
             (global.set $free (i32.add (global.get $free) (local.get 3))))
           (func (export \"run\") (param i32) (result i32)
             {body}))"
    );
    let mut module = wat::parse_str(text).unwrap();
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(Path::new("wit")).unwrap();
    let world = resolve.select_world(&[package], Some("agent")).unwrap();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).unwrap();
    module
}

/// The component of [`module`].
pub fn component(fields: &str, body: &str) -> Vec<u8> {
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(&module(fields, body)).unwrap();
    encoder.encode().unwrap()
}
