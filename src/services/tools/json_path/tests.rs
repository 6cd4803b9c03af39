use proptest::prelude::*;
use serde_json::json;

use super::*;

fn ask(document: &Value, query: &str) -> Value {
    let path = Path::parse(query).unwrap_or_else(|why| panic!("{query}: {why}"));
    json!(path.find(document).unwrap())
}

#[test]
fn the_examples_of_the_standard_hold() {
    let store = json!({ "store": {
        "book": [
            { "category": "reference", "author": "Nigel Rees", "title": "Sayings of the Century", "price": 8.95 },
            { "category": "fiction", "author": "Evelyn Waugh", "title": "Sword of Honour", "price": 12.99 },
            { "category": "fiction", "author": "Herman Melville", "title": "Moby Dick", "isbn": "0-553-21311-3", "price": 8.99 },
            { "category": "fiction", "author": "J. R. R. Tolkien", "title": "The Lord of the Rings", "isbn": "0-395-19395-8", "price": 22.99 },
        ],
        "bicycle": { "color": "red", "price": 399 },
    } });
    for (query, count) in [
        ("$.store.book[*].author", 4),
        ("$..author", 4),
        ("$.store.*", 2),
        ("$.store..price", 5),
        ("$..book[2]", 1),
        ("$..book[-1]", 1),
        ("$..book[0,1]", 2),
        ("$..book[:2]", 2),
        ("$..book[?@.isbn]", 2),
        ("$..book[?@.price<10]", 2),
        ("$..*", 27),
        ("$..book[?@.price > $.store.book[0].price && @.category == 'fiction'].title", 3),
        ("$..book[?!@.isbn]", 2),
        ("$..book[?(@.price < 9 || @.price > 20)]", 3),
        ("$['store'][\"bicycle\"]", 1),
        ("$.store.nothing", 0),
    ] {
        assert_eq!(ask(&store, query).as_array().unwrap().len(), count, "{query}");
    }
    assert_eq!(ask(&store, "$..book[?@.price == 8.99].title"), json!(["Moby Dick"]));
}

#[test]
fn slices_and_comparisons_are_those_of_the_standard() {
    let letters = json!(["a", "b", "c", "d", "e", "f", "g"]);
    for (query, found) in [
        ("$[1:3]", json!(["b", "c"])),
        ("$[5:]", json!(["f", "g"])),
        ("$[1:5:2]", json!(["b", "d"])),
        ("$[5:1:-2]", json!(["f", "d"])),
        ("$[::-1]", json!(["g", "f", "e", "d", "c", "b", "a"])),
        ("$[-2:]", json!(["f", "g"])),
        ("$[::0]", json!([])),
        ("$[9:]", json!([])),
        ("$[?@ > 'e']", json!(["f", "g"])),
    ] {
        assert_eq!(ask(&letters, query), found, "{query}");
    }
    let mixed = json!([{ "a": 1 }, { "a": 1.0 }, { "a": "1" }, { "a": null }, {}, { "a": true }]);
    for (query, found) in [
        ("$[?@.a == 1]", json!([{ "a": 1 }, { "a": 1.0 }])),
        ("$[?@.a == null]", json!([{ "a": null }])),
        ("$[?@.a == @.b]", json!([{}])),
        ("$[?@.a == true]", json!([{ "a": true }])),
        ("$[?@.a < '2']", json!([{ "a": "1" }])),
        (
            "$[?@.a]",
            json!([{ "a": 1 }, { "a": 1.0 }, { "a": "1" }, { "a": null }, { "a": true }]),
        ),
    ] {
        assert_eq!(ask(&mixed, query), found, "{query}");
    }
    assert_eq!(
        ask(&json!({ "it's": 1, "a\"b": 2, "ü": 3 }), r#"$['it\'s', "a\"b", 'a"b', "\u00fc"]"#),
        json!([1, 2, 2, 3])
    );
}

#[test]
fn what_is_no_query_is_refused_where_it_is_wrong() {
    for query in [
        "",
        "a",
        "$.",
        "$[",
        "$[]",
        "$[1",
        "$['a",
        "$[?]",
        "$[?1]",
        "$[?@.a ==]",
        "$[?@.a == @..b]",
        "$[?@.* == 1]",
        "$.1a",
        "$..",
        "$ x",
        "$[-]",
        "$[99999999999999999999]",
        "$[?length(@) > 1]",
        "$[?(@.a]",
        "$[?@.a = 1]",
        "$a",
        "$[?@.a == 01]",
        "$['\\x']",
    ] {
        assert!(Path::parse(query).is_err(), "{query}");
    }
    assert!(Path::parse("$.a!").unwrap_err().contains("character 4"));
    assert!(Path::parse(&format!("${}", "[?(!".repeat(200))).is_err());
}

#[test]
fn a_query_that_asks_for_too_much_is_stopped() {
    let mut deep = json!([1, 1]);
    for _ in 0..60 {
        deep = json!([deep]);
    }
    let twice = format!("${}", "[0,0]".repeat(60));
    assert!(Path::parse(&twice).unwrap().find(&deep).is_err());
    let wide: Vec<u32> = (0..2_000).collect();
    assert!(Path::parse("$[?$[?$[?@ > 1]]]").unwrap().find(&json!(wide)).is_err());
    assert!(Path::parse("$..*..*..*..*..*").unwrap().find(&deep).is_err());
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(query in r#"\$[$@.*\[\]?!()<>=&|'", a-c0-9:-]{0,40}"#) {
        if let Ok(path) = Path::parse(&query) {
            drop(path.find(&json!({ "a": [1, { "b": [2, 3] }], "c": "x" })));
        }
    }
}
