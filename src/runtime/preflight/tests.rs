use super::*;

fn refused(bytes: &[u8]) -> String {
    check(bytes).expect_err("refused")
}

#[test]
fn what_is_no_wasm_is_refused_with_its_reason() {
    assert!(refused(b"").contains("no WebAssembly"));
    assert!(refused(b"#!/bin/sh").contains("no WebAssembly"));
    assert!(refused(b"\x7fELF\x02\x01").contains("machine code"));
    assert!(refused(&vec![0; CODE_BYTES_MAX + 1]).contains("limit"));
}

#[test]
fn a_cut_off_module_is_refused() {
    let module = wat::parse_str("(module (func (export \"f\") (result i32) i32.const 1))").unwrap();
    assert_eq!(check(&module), Ok(Form::Module));
    assert!(refused(&module[..module.len() - 2]).contains("cut off"));
}

#[test]
fn foreign_imports_are_refused_by_name() {
    let component = wat::parse_str("(component (import \"wasi:cli/stdout@0.2.0\" (instance)))").unwrap();
    let text = refused(&component);
    assert!(text.contains("wasi:cli/stdout@0.2.0") && text.contains("no WASI"), "{text}");
    let ours = wat::parse_str("(component (import \"agentstation:agent/clock@0.1.0\" (instance)))").unwrap();
    assert_eq!(check(&ours), Ok(Form::Component));
}

#[test]
fn shapes_that_make_the_compiler_slow_are_refused() {
    let nested = format!("(module (func {} {}))", "block ".repeat(300), "end ".repeat(300));
    assert!(refused(&wat::parse_str(nested).unwrap()).contains("nested"));
    let locals = format!("(module (func {}))", "(local i64) ".repeat(3_000));
    assert!(refused(&wat::parse_str(locals).unwrap()).contains("locals"));
    let table = format!("(module (func block (br_table {} (i32.const 0)) end))", "0 ".repeat(5_000));
    assert!(refused(&wat::parse_str(table).unwrap()).contains("targets"));
}
