//! A change as a diff of YAML, of what people write: name, labels and spec.

use anstyle::Style;
use serde_json::{Value, json};
use similar::{ChangeTag, TextDiff};

use super::terminal::{BAD, FAINT, GOOD, styled};

/// How many lines are shown around a change.
const CONTEXT: usize = 3;

/// How one object becomes another; nothing when it stays the same. An absent one is null.
pub(super) fn diff(before: &Value, after: &Value) -> String {
    let (before, after) = (yaml(before), yaml(after));
    let lines = TextDiff::from_lines(&before, &after);
    let mut text = String::new();
    for hunk in lines.unified_diff().context_radius(CONTEXT).iter_hunks() {
        text.push_str(&format!("{}\n", styled(&hunk.header().to_string(), FAINT)));
        for change in hunk.iter_changes() {
            let (sign, style) = match change.tag() {
                ChangeTag::Delete => ('-', BAD),
                ChangeTag::Insert => ('+', GOOD),
                ChangeTag::Equal => (' ', Style::new()),
            };
            text.push_str(&format!("{}\n", styled(&format!("{sign}{}", change.value().trim_end()), style)));
        }
    }
    text
}

fn yaml(object: &Value) -> String {
    if object.is_null() {
        return String::new();
    }
    let mut metadata = json!({ "name": object["metadata"]["name"], "namespace": object["metadata"]["namespace"] });
    for field in ["labels", "annotations"] {
        if !object["metadata"][field].is_null() {
            metadata[field] = object["metadata"][field].clone();
        }
    }
    let written = json!({
        "apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": metadata, "spec": object["spec"]
    });
    serde_saphyr::to_string(&written).unwrap_or_else(|_| format!("{written:#}\n"))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::terminal::plain;
    use super::*;

    #[test]
    fn what_changes_is_shown_and_nothing_is_nothing() {
        let object = |spec: Value| {
            json!({
                "apiVersion": "relocation.dev/v1alpha1", "kind": "Relocation",
                "metadata": { "name": "acme", "namespace": "eu", "resourceVersion": "7" }, "spec": spec
            })
        };
        let before = object(json!({ "owner": "acme", "pauseAtStep": "IMPORTING", "planRef": { "name": "files" } }));
        let after = object(json!({ "owner": "acme", "planRef": { "name": "files" }, "reason": "audit" }));
        expect![[r#"
            @@ -5,6 +5,6 @@
               namespace: eu
             spec:
               owner: acme
            -  pauseAtStep: IMPORTING
               planRef:
                 name: files
            +  reason: audit
        "#]]
        .assert_eq(&plain(&diff(&before, &after)));
        assert_eq!(diff(&before, &before), "");
    }
}
