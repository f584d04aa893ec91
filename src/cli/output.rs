//! `-o`: how the answer of a reading command is written.

use std::str::FromStr;

use clap::Args;
use serde_json::{Value, json};

use super::error::Error;
use super::jsonpath::Template;
use super::session::Session;
use super::table::Table;

/// The flags of every reading command.
#[derive(Args, Clone, Debug)]
pub(super) struct OutputArguments {
    /// How to write the answer: json, yaml, name, wide, or jsonpath=TEMPLATE
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<Output>,
    /// Leave the line of headers out of tables
    #[arg(long)]
    pub no_headers: bool,
}

/// How the answer is written, where it is not written for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Output {
    /// As JSON.
    Json,
    /// As YAML.
    Yaml,
    /// Kind and name, a line each.
    Name,
    /// For people, with more columns.
    Wide,
    /// By a template.
    JsonPath(Template),
}

impl FromStr for Output {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let template =
            text.strip_prefix("jsonpath").and_then(|rest| rest.strip_prefix(['=', '.']).map(|path| (rest, path)));
        match (text, template) {
            ("json", _) => Ok(Self::Json),
            ("yaml", _) => Ok(Self::Yaml),
            ("name", _) => Ok(Self::Name),
            ("wide", _) => Ok(Self::Wide),
            (_, Some((rest, path))) if rest.starts_with('=') && !path.is_empty() => {
                path.parse().map(Self::JsonPath).map_err(|error: super::jsonpath::TemplateError| error.to_string())
            }
            _ => Err("choose one of json, yaml, name, wide, jsonpath=TEMPLATE".to_owned()),
        }
    }
}

impl OutputArguments {
    /// Whether people want to see more columns.
    pub fn is_wide(&self) -> bool {
        self.output == Some(Output::Wide)
    }

    /// Whether the answer is written for a program.
    pub fn is_for_programs(&self) -> bool {
        !matches!(self.output, None | Some(Output::Wide))
    }

    /// Writes a table.
    pub fn print_table(&self, session: &Session, table: &Table) -> Result<(), Error> {
        session.print(&table.render(!self.no_headers))
    }

    /// Writes a value for a program; `names` are what `-o name` shows.
    pub fn print_value(&self, session: &Session, value: &Value, names: &[String]) -> Result<(), Error> {
        let text = match &self.output {
            Some(Output::Yaml) => serde_saphyr::to_string(value)
                .map_err(|error| Error::Usage(format!("cannot write this as YAML: {error}")))?,
            Some(Output::Name) => names.iter().map(|name| format!("{name}\n")).collect(),
            Some(Output::JsonPath(template)) => template.render(value),
            Some(Output::Json | Output::Wide) | None => format!("{value:#}\n"),
        };
        // Not styled by us: what looks like a style is part of somebody's text.
        session.print_bytes(text.as_bytes())
    }

    /// Writes one of many values that come one after the other: a line of JSON, a document of YAML, a filled template.
    pub fn print_value_in_line(&self, session: &Session, value: &Value) -> Result<(), Error> {
        match &self.output {
            Some(Output::Json) => session.print_bytes(format!("{value}\n").as_bytes()),
            Some(Output::Yaml) => {
                session.print_bytes(b"---\n")?;
                self.print_value(session, value, &[])
            }
            Some(Output::JsonPath(template)) => session.print_bytes(format!("{}\n", template.render(value)).as_bytes()),
            Some(Output::Name | Output::Wide) | None => Ok(()),
        }
    }

    /// Writes objects as kubectl does: a list of them.
    pub fn print_objects(&self, session: &Session, objects: &[Value]) -> Result<(), Error> {
        let names: Vec<String> = objects.iter().map(name_of).collect();
        let list = json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": objects });
        self.print_value(session, &list, &names)
    }
}

/// `relocation.relocation.dev/acme`, as kubectl writes it.
pub(super) fn name_of(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let group = text(&object["apiVersion"]);
    let group = group.rsplit_once('/').map(|(group, _)| format!(".{group}")).unwrap_or_default();
    format!("{}{group}/{}", text(&object["kind"]).to_lowercase(), text(&object["metadata"]["name"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_read_and_a_wrong_one_is_answered_with_the_right_ones() {
        assert_eq!("yaml".parse(), Ok(Output::Yaml));
        assert!(matches!("jsonpath={.metadata.name}".parse(), Ok(Output::JsonPath(_))));
        for wrong in ["", "jsonpath", "jsonpath=", "xml"] {
            let said = wrong.parse::<Output>().unwrap_err();
            assert_eq!(said, "choose one of json, yaml, name, wide, jsonpath=TEMPLATE", "{wrong}");
        }
        assert!("jsonpath={.a".parse::<Output>().unwrap_err().contains("not closed"));
    }

    #[test]
    fn an_object_is_named_as_kubectl_names_it() {
        let object =
            json!({ "apiVersion": "relocation.dev/v1alpha1", "kind": "Relocation", "metadata": { "name": "acme" } });
        assert_eq!(name_of(&object), "relocation.relocation.dev/acme");
    }
}
