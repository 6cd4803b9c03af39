//! `/docs/api`: the API's description for people, made from the same document that programs read, without asking anyone outside.

mod shapes;

use std::fmt::Write as _;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde_json::Value;

use self::shapes::{Field, Shape, example, fields_of, kind_of, text};
use super::{filters, html, shell};
use crate::domain::permission::Permission;
use crate::web::extract::SignedIn;
use crate::web::openapi;
use crate::web::pages::view::Shell;
use crate::web::problem::Problem;
use crate::web::state::State;

#[derive(Template)]
#[template(path = "pages/docs/api.html")]
struct ApiPage {
    shell: Shell,
    about: String,
    groups: Vec<Group>,
    shapes: Vec<Shape>,
}

/// Operations on one kind of thing.
struct Group {
    id: String,
    name: String,
    about: String,
    operations: Vec<Operation>,
}

struct Operation {
    id: String,
    method: &'static str,
    path: String,
    /// The first words of the summary, for the list of operations.
    label: String,
    /// Markdown.
    summary: String,
    about: String,
    permission: Option<Permission>,
    parameters: Vec<Parameter>,
    body: Option<Body>,
    answers: Vec<Answer>,
    curl: String,
}

struct Parameter {
    /// `path`, `query` or `header`.
    place: String,
    field: Field,
}

struct Body {
    media: String,
    kind: String,
    /// The shape's name, where it has one.
    shape: String,
    fields: Vec<Field>,
}

struct Answer {
    status: String,
    about: String,
    body: Option<Body>,
}

const METHODS: [(&str, &str); 5] = [
    ("get", "GET"),
    ("post", "POST"),
    ("put", "PUT"),
    ("patch", "PATCH"),
    ("delete", "DELETE"),
];

/// `GET /docs/api`
pub async fn show(signed_in: SignedIn, state: web::Data<State>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let document: Value = serde_json::from_str(&openapi::document()).map_err(Problem::internal)?;
    let origin = match &state.settings.public_url {
        Some(url) => url.as_str().to_owned(),
        // It was checked to be a name of ours.
        None => format!(
            "http://{}",
            request
                .headers()
                .get(header::HOST)
                .and_then(|host| host.to_str().ok())
                .unwrap_or_default()
        ),
    };
    html(&ApiPage {
        shell: shell(&state, &request, &signed_in.0, "API reference", "docs"),
        about: text(document.pointer("/info/description")).to_owned(),
        groups: groups(&document, &origin),
        shapes: shapes::all(&document),
    })
}

fn groups(document: &Value, origin: &str) -> Vec<Group> {
    let mut operations = operations(document, origin);
    let mut groups = Vec::new();
    for tag in document.get("tags").and_then(Value::as_array).into_iter().flatten() {
        let name = text(tag.get("name"));
        let (own, others): (Vec<_>, Vec<_>) = operations.into_iter().partition(|(of, _)| of == name);
        operations = others;
        groups.push(Group {
            id: name.replace(' ', "-"),
            name: in_capitals(name),
            about: text(tag.get("description")).to_owned(),
            operations: own.into_iter().map(|(_, operation)| operation).collect(),
        });
    }
    if !operations.is_empty() {
        groups.push(Group {
            id: "others".to_owned(),
            name: "Others".to_owned(),
            about: String::new(),
            operations: operations.into_iter().map(|(_, operation)| operation).collect(),
        });
    }
    groups.retain(|group| !group.operations.is_empty());
    groups
}

fn in_capitals(name: &str) -> String {
    let mut letters = name.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Every operation, with its tag.
fn operations(document: &Value, origin: &str) -> Vec<(String, Operation)> {
    let mut all = Vec::new();
    for (path, methods) in document.get("paths").and_then(Value::as_object).into_iter().flatten() {
        for (key, method) in METHODS {
            let Some(described) = methods.get(key) else { continue };
            let tag = text(described.pointer("/tags/0")).to_owned();
            all.push((tag, operation(document, origin, path, method, described)));
        }
    }
    all
}

fn operation(document: &Value, origin: &str, path: &str, method: &'static str, described: &Value) -> Operation {
    let body = described
        .pointer("/requestBody/content")
        .and_then(Value::as_object)
        .and_then(|content| content.iter().next())
        .map(|(media, content)| (media.as_str(), content.get("schema").unwrap_or(&Value::Null)));
    Operation {
        id: text(described.get("operationId")).to_owned(),
        method,
        path: path.to_owned(),
        label: label_of(text(described.get("summary"))),
        summary: text(described.get("summary")).to_owned(),
        about: text(described.get("description")).to_owned(),
        permission: Permission::parse(text(described.get("x-permission"))),
        parameters: parameters(described),
        curl: curl(document, origin, path, method, body),
        body: body.map(|(media, schema)| body_of(document, media, schema)),
        answers: answers(document, described),
    }
}

/// The first sentence, or the first part of it, without marks.
fn label_of(summary: &str) -> String {
    let first = summary.split(['.', ':', ';']).next().unwrap_or_default();
    first.replace('`', "")
}

fn parameters(described: &Value) -> Vec<Parameter> {
    let list = described.get("parameters").and_then(Value::as_array).into_iter().flatten();
    list.map(|parameter| {
        let schema = parameter.get("schema").unwrap_or(&Value::Null);
        Parameter {
            place: text(parameter.get("in")).to_owned(),
            field: Field {
                name: text(parameter.get("name")).to_owned(),
                kind: kind_of(schema),
                shape: String::new(),
                required: parameter.get("required").and_then(Value::as_bool) == Some(true),
                about: text(parameter.get("description")).to_owned(),
            },
        }
    })
    .collect()
}

fn body_of(document: &Value, media: &str, schema: &Value) -> Body {
    Body {
        media: media.to_owned(),
        kind: kind_of(schema),
        shape: shapes::shape_of(schema),
        fields: fields_of(document, schema),
    }
}

fn answers(document: &Value, described: &Value) -> Vec<Answer> {
    let list = described.get("responses").and_then(Value::as_object).into_iter().flatten();
    list.map(|(status, answer)| {
        let answer = shapes::resolve(document, answer);
        let content = answer
            .get("content")
            .and_then(Value::as_object)
            .and_then(|content| content.iter().next());
        let is_problem = content.is_some_and(|(media, _)| media == crate::web::problem::PROBLEM_JSON);
        Answer {
            status: if status == "default" { "else".to_owned() } else { status.clone() },
            about: text(answer.get("description")).to_owned(),
            // Problems all look alike and are told of once.
            body: content
                .filter(|_| !is_problem)
                .map(|(media, content)| body_of(document, media, content.get("schema").unwrap_or(&Value::Null))),
        }
    })
    .collect()
}

/// A command that does it, with names in capitals where the caller puts in their own.
fn curl(document: &Value, origin: &str, path: &str, method: &str, body: Option<(&str, &Value)>) -> String {
    let mut address = String::new();
    for (i, part) in path.split(['{', '}']).enumerate() {
        if i % 2 == 1 {
            address.push('$');
            address.push_str(&part.to_uppercase());
        } else {
            address.push_str(part);
        }
    }
    let mut command = "curl".to_owned();
    if method != "GET" && !(method == "POST" && body.is_some()) {
        command = format!("{command} -X {method}");
    }
    command.push_str(" -H \"Authorization: Bearer $KEY\"");
    match body {
        Some(("multipart/form-data", schema)) => {
            for field in fields_of(document, schema).iter().filter(|field| field.required) {
                _ = write!(command, " \\\n  -F {0}=@{0}", field.name);
            }
        }
        Some((media, schema)) => {
            let example = example(document, schema);
            // Writing to a String cannot fail.
            _ = write!(command, " \\\n  -H 'Content-Type: {media}' -d '{example}'");
        }
        None => {}
    }
    format!("{command} \\\n  \"{origin}{address}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_shown_with_what_it_needs_and_a_command() {
        let document: Value = serde_json::from_str(&openapi::document()).unwrap();
        let groups = groups(&document, "https://station.example");
        let shown: usize = groups.iter().map(|group| group.operations.len()).sum();
        let described: usize = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .map(|path| path.as_object().unwrap().len())
            .sum();
        assert_eq!(shown, described);
        for operation in groups.iter().flat_map(|group| &group.operations) {
            let name = format!("{} {}", operation.method, operation.path);
            assert!(
                !operation.id.is_empty() && !operation.summary.is_empty() && !operation.answers.is_empty(),
                "{name}"
            );
            assert!(
                operation.curl.contains("https://station.example/api/v1/"),
                "{name}: {}",
                operation.curl
            );
            assert!(
                !operation.curl.contains(['{', '}']) || operation.body.is_some(),
                "{name}: {}",
                operation.curl
            );
        }
        let start = groups
            .iter()
            .flat_map(|group| &group.operations)
            .find(|operation| operation.id == "startRun")
            .unwrap();
        assert_eq!(start.permission, Some(Permission::RunsStart));
        assert!(
            start.curl.contains("-d '{\"agent\":\"") && start.answers.iter().any(|answer| answer.status == "429"),
            "{}",
            start.curl
        );
    }
}
