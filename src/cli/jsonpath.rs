//! kubectl's dialect of JSONPath: text, `{.path}`, `{"quoted"}` and `{range .path}…{end}`.
//!
//! The paths themselves are evaluated by a library that speaks RFC 9535; what differs is rewritten here: kubectl's paths
//! need no `$`, their names may hold hyphens, and a dot in a name is escaped by a backslash.

use std::str::FromStr;

use jsonpath_rust::JsonPath;
use serde_json::Value;

/// A template that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// What stands outside the braces, or in quotes.
    Text(String),
    /// A path of RFC 9535, from the object at hand.
    Path(String),
    /// The parts, once for each result of the path.
    Range(String, Vec<Part>),
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace or a quote without its other half.
    #[error("the JSONPath {0:?} has an opening brace, bracket or quote that is not closed")]
    Open(String),
    /// `{end}` without `{range}`.
    #[error("the JSONPath has an {{end}} without a {{range …}} before it")]
    EndWithoutRange,
    /// `{range}` without `{end}`.
    #[error("the JSONPath has a {{range …}} without an {{end}} after it")]
    RangeWithoutEnd,
    /// The path is not one.
    #[error(
        "{path:?} is no JSONPath ({why}); write it as in {{.status.step}}, {{.items[*].metadata.name}}, {{.status.conditions[?(@.type==\"Ready\")].reason}}"
    )]
    Path {
        /// As it was written.
        path: String,
        /// What the library says, cut to its first line.
        why: String,
    },
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // As kubectl does, a bare path is taken as if it stood in braces.
        let braced = if text.contains('{') { text.to_owned() } else { format!("{{{text}}}") };
        let mut open: Vec<(String, Vec<Part>)> = Vec::new();
        let mut parts = Vec::new();
        let mut rest = braced.as_str();
        while let Some(start) = rest.find('{') {
            if start > 0 {
                parts.push(Part::Text(rest[..start].to_owned()));
            }
            let end = closing(&rest[start + 1..], '}').ok_or_else(|| TemplateError::Open(text.to_owned()))?;
            let inside = rest[start + 1..start + 1 + end].trim();
            rest = &rest[start + end + 2..];
            if inside == "end" {
                let (path, before) = open.pop().ok_or(TemplateError::EndWithoutRange)?;
                let repeated = std::mem::replace(&mut parts, before);
                parts.push(Part::Range(path, repeated));
            } else if let Some(path) = inside.strip_prefix("range ") {
                open.push((rewrite(path.trim())?, std::mem::take(&mut parts)));
            } else if let Some(quoted) = quoted(inside) {
                parts.push(Part::Text(quoted));
            } else {
                parts.push(Part::Path(rewrite(inside)?));
            }
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        if open.is_empty() { Ok(Self(parts)) } else { Err(TemplateError::RangeWithoutEnd) }
    }
}

impl Template {
    /// The text that the template makes of an object. What is not there leaves nothing, as with kubectl.
    pub fn render(&self, object: &Value) -> String {
        let mut text = String::new();
        render(&self.0, object, &mut text);
        text
    }
}

fn render(parts: &[Part], object: &Value, text: &mut String) {
    for part in parts {
        match part {
            Part::Text(literal) => text.push_str(literal),
            Part::Path(path) => {
                let found = object.query(path).unwrap_or_default();
                let shown: Vec<String> = found.into_iter().map(show).collect();
                text.push_str(&shown.join(" "));
            }
            Part::Range(path, repeated) => {
                for each in object.query(path).unwrap_or_default() {
                    render(repeated, each, text);
                }
            }
        }
    }
}

/// Texts without quotes, everything else as JSON.
fn show(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The place of the closing character, past quotes.
fn closing(text: &str, close: char) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (place, character) in text.char_indices() {
        match (quote, character) {
            _ if escaped => escaped = false,
            (_, '\\') => escaped = true,
            (Some(open), _) if character == open => quote = None,
            (None, '"' | '\'') => quote = Some(character),
            (None, _) if character == close => return Some(place),
            (Some(_) | None, _) => {}
        }
    }
    None
}

/// What stands in quotes, with its escapes read.
fn quoted(text: &str) -> Option<String> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    serde_json::from_str(&format!("\"{inner}\"")).ok()
}

/// A path of kubectl's as one of RFC 9535, tried out.
fn rewrite(path: &str) -> Result<String, TemplateError> {
    let wrong = |why: &str| TemplateError::Path { path: path.to_owned(), why: why.to_owned() };
    let mut rest = path.strip_prefix('$').or_else(|| path.strip_prefix('@')).unwrap_or(path);
    let mut rewritten = "$".to_owned();
    while let Some(first) = rest.chars().next() {
        match first {
            '.' if rest.starts_with("..") => {
                let (name, after) = name(&rest[2..]);
                if name.is_empty() && !after.starts_with('[') {
                    return Err(wrong("nothing follows the two dots"));
                }
                rewritten.push_str("..");
                rewritten.push_str(&if name.is_empty() { String::new() } else { bracketed(&name) });
                rest = after;
            }
            '.' => {
                let (name, after) = name(&rest[1..]);
                rewritten.push_str(&if name.is_empty() { String::new() } else { bracketed(&name) });
                rest = after;
            }
            '[' => {
                let end = closing(&rest[1..], ']').ok_or_else(|| TemplateError::Open(path.to_owned()))?;
                rewritten.push_str(&rest[..end + 2]);
                rest = &rest[end + 2..];
            }
            _ if rewritten == "$" => {
                let (name, after) = name(rest);
                rewritten.push_str(&bracketed(&name));
                rest = after;
            }
            _ => return Err(wrong("a name must follow a dot")),
        }
    }
    match Value::Null.query(&rewritten) {
        Ok(_) => Ok(rewritten),
        Err(error) => Err(wrong(error.to_string().lines().last().unwrap_or_default().trim())),
    }
}

fn bracketed(name: &str) -> String {
    if name == "*" { "[*]".to_owned() } else { format!("[{}]", Value::from(name)) }
}

/// A name up to the next dot or bracket, and what follows.
fn name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut escaped = false;
    for (place, character) in text.char_indices() {
        match character {
            _ if escaped => {
                name.push(character);
                escaped = false;
            }
            '\\' => escaped = true,
            '.' | '[' => return (name, &text[place..]),
            _ => name.push(character),
        }
    }
    (name, "")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(template: &str, expected: &str) {
        let object = json!({
            "metadata": { "name": "acme", "labels": { "app.kubernetes.io/name": "x", "a-b": "y" } },
            "spec": { "items": ["one", "two", "three"], "n": 3, "on": true },
            "status": { "conditions": [
                { "type": "Ready", "status": "False", "reason": "AtFence" },
                { "type": "Paused", "status": "True", "reason": "AtFence" }
            ]}
        });
        let rendered = template.parse::<Template>().map(|template| template.render(&object));
        assert_eq!(rendered.as_deref(), Ok(expected), "{template}");
    }

    #[test]
    fn kubectls_dialect_is_understood() {
        check("{.metadata.name}", "acme");
        check(".metadata.name", "acme");
        check("{$.metadata.name}", "acme");
        check("{['metadata']['name']}", "acme");
        check("{.spec.items[0]} and {.spec.items[-1]}", "one and three");
        check("{.spec.items[0:2]}", "one two");
        check("{.spec.items[*]}", "one two three");
        check("{.spec.items}", r#"["one","two","three"]"#);
        check("{.spec.n}{.spec.on}", "3true");
        check(r"{.metadata.labels.app\.kubernetes\.io/name}", "x");
        check("{.metadata.labels.a-b}", "y");
        check(r#"{.status.conditions[?(@.type=="Paused")].status}"#, "True");
        check("{.status.conditions[?(@.type=='Ready')].reason}", "AtFence");
        check(r#"{range .spec.items[*]}{@}{"\n"}{end}"#, "one\ntwo\nthree\n");
        check(r#"{range .status.conditions[*]}{.type}={.status};{end}"#, "Ready=False;Paused=True;");
        check("{..reason}", "AtFence AtFence");
        check("{.nothing.here}", "");
        check("name: {.metadata.name}!", "name: acme!");
    }

    #[test]
    fn a_mistake_is_named() {
        let said = |template: &str| template.parse::<Template>().unwrap_err().to_string();
        assert!(said("{.a").contains("not closed"));
        assert!(said("{.a[0}").contains("not closed"));
        assert!(said("{end}").contains("without a {range …}"));
        assert!(said("{range .a}{.b}").contains("without an {end}"));
        assert!(said("{.a[?(@.b=)]}").contains("write it as in"), "{}", said("{.a[?(@.b=)]}"));
        assert!(said("{.a[x]}").contains("is no JSONPath"));
    }
}
