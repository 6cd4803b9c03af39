//! The guests that are measured: components of a few instructions that make a number of journaled calls, and may ask a person.

use agentstation::runtime::preflight::componentize;
use wit_component::StringEncoding;
use wit_parser::Resolve;

/// One journaled call. Written by hand, like the rest, so that what is measured is the station.
const PUT: &str = "(call $put (i32.const 100) (i32.const 1) (i32.const 101) (i32.const 1) (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 512))\n";

/// Asks with the arguments `{}`, offering to approve and to deny, without a time limit of its own.
const ASK: &str = "(call $ask (i32.const 120) (i32.const 15) (i32.const 110) (i32.const 2) (i32.const 140) (i32.const 26) (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 512))\n";

/// Remembers `calls` values, then is done.
pub fn component(calls: u32) -> Vec<u8> {
    build(&PUT.repeat(calls as usize))
}

/// Remembers `calls` values, asks a person, remembers one more, and is done.
pub fn asking(calls: u32) -> Vec<u8> {
    build(&format!("{}{ASK}{PUT}", PUT.repeat(calls as usize)))
}

fn build(body: &str) -> Vec<u8> {
    let wat = format!(
        r#"(module
            (import "agentstation:agent/memory@0.1.0" "put"
                (func $put (param i32 i32 i32 i32 i32 i64 i32 i32 i32 i32)))
            (import "agentstation:agent/approvals@0.1.0" "request"
                (func $ask (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 i32 i32 i32 i32 i32)))
            (memory (export "memory") 1)
            (global $next (mut i32) (i32.const 1024))
            (data (i32.const 100) "k1")
            (data (i32.const 110) "{{}}")
            (data (i32.const 120) "Order 40 chairs")
            (data (i32.const 140) "The **old** ones have gone")
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
                (global.set $next (i32.add (local.get $at) (local.get 3)))
                (local.get $at))
            (func (export "run") (param i32) (result i32)
                {body}
                (i32.store8 (i32.const 256) (i32.const 0))
                (i32.store8 (i32.const 264) (i32.const 0))
                (i32.store (i32.const 272) (i32.const 110))
                (i32.store (i32.const 276) (i32.const 2))
                (i32.const 256))
        )"#
    );
    let mut module = wat::parse_str(wat).expect("the text is WebAssembly");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir("wit").expect("wit/ parses");
    let world = resolve.select_world(&[package], Some("agent")).expect("the world");
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8, false).expect("the types fit");
    componentize(&module).expect("a component")
}
