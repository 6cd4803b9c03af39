//! The files that pages refer to, inside the binary. `/static/{hash}/{path}` never changes and is cached for a year;
//! `/static/{path}` is asked for again and answered by its ETag.
//!
//! The hash in an address is that of all files together: modules and style sheets name each other by relative addresses,
//! which so lead to files of the same build, and to each module once.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use actix_web::http::header::{self, ETag, EntityTag, HeaderValue};
use actix_web::{HttpRequest, HttpResponse, web};
use rust_embed::RustEmbed;
use sha2::{Digest as _, Sha256};

use super::extract::Public;
use super::problem::Problem;
use crate::domain::hex;

#[derive(RustEmbed)]
#[folder = "static/"]
struct Files;

/// Hexadecimal characters of a digest in an address and in an ETag.
const HASH_CHARS: usize = 12;

struct Asset {
    body: web::Bytes,
    hash: String,
    content_type: String,
}

static ASSETS: LazyLock<BTreeMap<String, Asset>> = LazyLock::new(|| {
    Files::iter()
        .filter(|path| is_served(path))
        .filter_map(|path| {
            let file = Files::get(&path)?;
            let mut hash = hex::encode(&file.metadata.sha256_hash());
            hash.truncate(HASH_CHARS);
            let asset = Asset {
                body: match file.data {
                    std::borrow::Cow::Borrowed(bytes) => web::Bytes::from_static(bytes),
                    std::borrow::Cow::Owned(bytes) => web::Bytes::from(bytes),
                },
                hash,
                content_type: content_type(&path),
            };
            Some((path.into_owned(), asset))
        })
        .collect()
});

/// Names this build's files.
static BUILD: LazyLock<String> = LazyLock::new(|| {
    let mut all = Sha256::new();
    for (path, asset) in ASSETS.iter() {
        all.update(path);
        all.update(&asset.hash);
    }
    let mut hash = hex::encode(&all.finalize());
    hash.truncate(HASH_CHARS);
    hash
});

/// Not what only builds the files beside it.
fn is_served(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let is_source = [".sh", ".entry.js"].iter().any(|end| name.ends_with(end)) || name.starts_with("package");
    !is_source && !path.contains("node_modules/")
}

fn content_type(path: &str) -> String {
    let guess = mime_guess::from_path(path).first_or_octet_stream();
    match (guess.type_().as_str(), guess.subtype().as_str()) {
        ("text", _) | (_, "javascript" | "json") => format!("{guess}; charset=utf-8"),
        _ => guess.to_string(),
    }
}

/// The address of a file, with its hash; the plain one where there is no such file.
pub fn address(path: &str) -> String {
    if ASSETS.contains_key(path) {
        format!("/static/{}/{path}", *BUILD)
    } else {
        format!("/static/{path}")
    }
}

/// The text of a file; none where there is no such file.
pub fn text(path: &str) -> Option<String> {
    let asset = ASSETS.get(path)?;
    String::from_utf8(asset.body.to_vec()).ok()
}

/// `GET /static/{path}`
pub async fn show(_: Public, path: web::Path<String>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    let path = path.into_inner();
    let (asset, hashed) = find(&path).ok_or_else(Problem::not_found)?;
    let tag = EntityTag::new_strong(asset.hash.clone());
    if is_known(&request, &tag) {
        return Ok(HttpResponse::NotModified().insert_header(ETag(tag)).finish());
    }
    let caching = if hashed {
        "public, max-age=31536000, immutable"
    } else {
        "public, no-cache"
    };
    Ok(HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, asset.content_type.as_str()))
        .insert_header((header::CACHE_CONTROL, HeaderValue::from_static(caching)))
        .insert_header(ETag(tag))
        .body(asset.body.clone()))
}

fn find(path: &str) -> Option<(&'static Asset, bool)> {
    if let Some((hash, rest)) = path.split_once('/')
        && hash == *BUILD
        && let Some(asset) = ASSETS.get(rest)
    {
        return Some((asset, true));
    }
    ASSETS.get(path).map(|asset| (asset, false))
}

/// Whether the client already has what `tag` names.
pub fn is_known(request: &HttpRequest, tag: &EntityTag) -> bool {
    use actix_web::http::header::Header as _;
    match header::IfNoneMatch::parse(request) {
        Ok(header::IfNoneMatch::Any) => true,
        Ok(header::IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(tag)),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_hash_leads_to_its_file_and_another_hash_to_nothing() {
        let address = address("css/base.css");
        let path = address.strip_prefix("/static/").unwrap();
        let (asset, hashed) = find(path).unwrap();
        assert!(hashed);
        assert_eq!(asset.content_type, "text/css; charset=utf-8");
        assert!(find("000000000000/css/base.css").is_none());
        assert!(find(&format!("{}/css/none.css", *BUILD)).is_none());
        assert!(!find("css/base.css").unwrap().1);
        assert!(find("../Cargo.toml").is_none());
    }

    #[test]
    fn what_only_builds_the_files_is_not_served() {
        assert!(
            ASSETS.keys().all(|path| !path.contains("package") && !path.contains("build")),
            "{:?}",
            ASSETS.keys()
        );
    }
}
