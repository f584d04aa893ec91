//! `list`: what there is, newest first.

use clap::Args;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ListParams;
use serde::Deserialize;
use serde_json::Value;

use super::super::ages;
use super::super::cluster::{Place, field_value};
use super::super::error::Error;
use super::super::outcome::Outcome;
use super::super::output::OutputArguments;
use super::super::session::Session;
use super::super::table::{Cell, Table};
use super::super::terminal::{BAD, GOOD, status_style};
use crate::api::{ConditionType, PlanReference, Relocation, StatusValue, condition_status};

/// The flags of `list`.
#[derive(Args, Debug)]
#[command(after_help = "\
EXAMPLES
  kubectl relocation list                              of this namespace
  kubectl relocation list -A --status pause            what waits for a person, everywhere
  kubectl relocation list --owner acme -o wide         of one owner, with plan, Job and failure
  kubectl relocation list --query acme eu              every term occurs in uuid, name, owner or an item
  kubectl relocation list -o jsonpath='{.items[*].metadata.name}'")]
pub struct ListArguments {
    /// Only those with this status: pending, in-progress, pause, failure or success
    #[arg(long, value_name = "STATUS", value_parser = read_status)]
    status: Option<StatusValue>,
    /// Only those of this owner
    #[arg(long)]
    owner: Option<String>,
    /// Only those in which every term occurs, in uuid, name, owner or an item, in any case of letters
    #[arg(short, long, value_name = "TERM", num_args = 1..)]
    query: Vec<String>,
    /// Only those that carry these labels
    #[arg(short = 'l', long, value_name = "SELECTOR")]
    selector: Option<String>,
    #[command(flatten)]
    output: OutputArguments,
}

impl ListArguments {
    /// Lists them.
    pub async fn run(&self, session: &Session) -> Result<Outcome, Error> {
        let cluster = session.cluster().await?;
        let listed = cluster.list::<Relocation>(&self.parameters()).await?;
        if self.output.is_for_programs() {
            let mut objects = listed.sent::<Relocation>();
            objects.retain(|object| self.fits(&sought_in(object)));
            objects.sort_by_key(|object| std::cmp::Reverse(order(object)));
            self.output.print_objects(session, &objects)?;
            return Ok(Outcome::Done);
        }
        let (mut rows, unreadable) = listed.typed::<Row>();
        rows.retain(|row| self.fits(&row.texts()));
        rows.sort_by(|one, other| {
            let order = |row: &Row| std::cmp::Reverse(row.metadata.creation_timestamp.as_ref().map(|time| time.0));
            order(one).cmp(&order(other)).then_with(|| one.metadata.name.cmp(&other.metadata.name))
        });
        if rows.is_empty() {
            session.remark(&self.nothing(cluster.place()));
        } else {
            self.output.print_table(session, &self.table(session, &rows, cluster.place()))?;
        }
        if unreadable > 0 {
            session.remark(&format!(
                "{unreadable} more were written by a newer version and cannot be shown; update the plugin, or use -o yaml"
            ));
        }
        Ok(Outcome::Done)
    }

    fn parameters(&self) -> ListParams {
        let status = self.status.map(|status| format!("status.status={}", status.as_str()));
        let owner = self.owner.as_ref().map(|owner| format!("spec.owner={}", field_value(owner)));
        let fields: Vec<String> = status.into_iter().chain(owner).collect();
        ListParams {
            label_selector: self.selector.clone(),
            field_selector: (!fields.is_empty()).then(|| fields.join(",")),
            ..ListParams::default()
        }
    }

    fn fits(&self, texts: &[String]) -> bool {
        let mut terms = self.query.iter().flat_map(|query| query.split_whitespace()).map(str::to_lowercase);
        terms.all(|term| texts.iter().any(|text| text.to_lowercase().contains(&term)))
    }

    fn nothing(&self, place: &Place) -> String {
        let narrowed =
            self.status.is_some() || self.owner.is_some() || !self.query.is_empty() || self.selector.is_some();
        let such = if narrowed { "such relocation" } else { "relocation" };
        match place {
            Place::Namespace(namespace) => {
                format!("there is no {such} in the namespace {namespace:?}; -A looks into all")
            }
            Place::Everywhere => format!("there is no {such}"),
        }
    }

    fn table(&self, session: &Session, rows: &[Row], place: &Place) -> Table {
        let everywhere = *place == Place::Everywhere;
        let wide = self.output.is_wide();
        let mut headers = Vec::new();
        if everywhere {
            headers.push("NAMESPACE");
        }
        headers.extend(["NAME", "STEP", "STATUS", "TASK", "TRY", "PAUSE-AT", "READY", "AGE"]);
        if wide {
            headers.extend(["REASON", "FAILURE", "JOB", "PLAN", "OWNER"]);
        }
        let mut table = Table::new(&headers);
        let now = session.now();
        for Row { metadata, spec, status } in rows {
            let ready = status.conditions.iter().find(|condition| condition.type_ == ConditionType::Ready.as_str());
            let mut cells = Vec::new();
            if everywhere {
                cells.push(Cell::maybe(metadata.namespace.as_deref()));
            }
            let value = status.status.as_deref().unwrap_or_default();
            let known = StatusValue::ALL.into_iter().find(|known| known.as_str() == value);
            let age = metadata.creation_timestamp.as_ref().map(|time| ages::since(time.0, now));
            let is_ready = ready.is_some_and(|ready| ready.status == condition_status::TRUE);
            cells.extend([
                Cell::from(metadata.name.as_str()),
                Cell::maybe(status.step.as_deref()),
                Cell::new(value, status_style(known)),
                Cell::maybe(status.task.as_deref()),
                Cell::from(status.attempt.map(|attempt| attempt.to_string()).unwrap_or_default()),
                Cell::maybe(spec.pause_at_step.as_deref()),
                Cell::new(
                    ready.map(|ready| ready.status.as_str()).unwrap_or_default(),
                    if is_ready { GOOD } else { anstyle::Style::new() },
                ),
                Cell::from(age.unwrap_or_default()),
            ]);
            if wide {
                cells.extend([
                    Cell::maybe(ready.map(|ready| ready.reason.as_str())),
                    Cell::new(status.failure.as_ref().map(|failure| failure.id.as_str()).unwrap_or_default(), BAD),
                    Cell::maybe(status.job.as_deref()),
                    Cell::from(spec.plan_ref.name.as_str()),
                    Cell::from(spec.owner.as_str()),
                ]);
            }
            table.row(cells);
        }
        table
    }
}

/// What a line of the table shows of a relocation. The rest, which is most of it, is not even read: a thousand of them
/// are some megabytes. Names stay texts, so that those of a newer version are shown as they are.
#[derive(Debug, Deserialize)]
struct Row {
    metadata: RowMetadata,
    spec: RowSpec,
    #[serde(default)]
    status: RowStatus,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RowMetadata {
    name: String,
    namespace: Option<String>,
    uid: Option<String>,
    creation_timestamp: Option<Time>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RowSpec {
    owner: String,
    plan_ref: PlanReference,
    uuid: Option<String>,
    #[serde(default)]
    items: Vec<String>,
    pause_at_step: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RowStatus {
    uuid: Option<String>,
    status: Option<String>,
    step: Option<String>,
    task: Option<String>,
    attempt: Option<i64>,
    job: Option<String>,
    failure: Option<RowFailure>,
    conditions: Vec<RowCondition>,
}

#[derive(Debug, Deserialize)]
struct RowFailure {
    id: String,
}

#[derive(Debug, Deserialize)]
struct RowCondition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
    reason: String,
}

impl Row {
    /// Where the terms of a query are looked for.
    fn texts(&self) -> Vec<String> {
        let uuid = [&self.status.uuid, &self.spec.uuid, &self.metadata.uid].into_iter().find_map(Clone::clone);
        let names = [self.metadata.name.clone(), self.spec.owner.clone()];
        names.into_iter().chain(uuid).chain(self.spec.items.iter().cloned()).collect()
    }
}

/// The same of an object that this version may not understand.
fn sought_in(object: &Value) -> Vec<String> {
    let uuid = [&object["status"]["uuid"], &object["spec"]["uuid"], &object["metadata"]["uid"]];
    let uuid = uuid.into_iter().find_map(Value::as_str);
    let names = [object["metadata"]["name"].as_str(), object["spec"]["owner"].as_str(), uuid];
    let items = object["spec"]["items"].as_array().into_iter().flatten().map(Value::as_str);
    names.into_iter().chain(items).flatten().map(str::to_owned).collect()
}

/// The age first, then the names backwards: the order is turned round as a whole.
fn order(object: &Value) -> (String, std::cmp::Reverse<String>) {
    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
    (text("creationTimestamp"), std::cmp::Reverse(text("name")))
}

fn read_status(text: &str) -> Result<StatusValue, String> {
    let wanted = text.replace('-', "_");
    StatusValue::ALL.into_iter().find(|status| status.as_str().eq_ignore_ascii_case(&wanted)).ok_or_else(|| {
        let known: Vec<&str> = StatusValue::ALL.iter().map(|status| status.as_str()).collect();
        format!("choose one of {}", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn arguments(query: &[&str]) -> ListArguments {
        ListArguments {
            status: Some(StatusValue::Pause),
            owner: Some("a,b=c".to_owned()),
            query: query.iter().map(ToString::to_string).collect(),
            selector: None,
            output: OutputArguments { output: None, no_headers: false },
        }
    }

    #[test]
    fn every_term_must_occur_somewhere() {
        let object = json!({
            "metadata": { "name": "acme-eu", "uid": "3f0c" },
            "spec": { "owner": "Acme Inc", "planRef": { "name": "files" }, "items": ["wiki", "shop"] }
        });
        let row: Row = serde_json::from_value(object.clone()).unwrap();
        for (query, found) in [
            (&["acme"][..], true),
            (&["ACME", "wiki"], true),
            (&["acme wiki"], true),
            (&["3f0"], true),
            (&["acme", "blog"], false),
            (&["files"], false),
        ] {
            assert_eq!(arguments(query).fits(&row.texts()), found, "{query:?}");
            assert_eq!(arguments(query).fits(&sought_in(&object)), found, "{query:?}");
        }
    }

    #[test]
    fn status_and_owner_are_asked_of_the_api_server() {
        let parameters = arguments(&[]).parameters();
        assert_eq!(parameters.field_selector.as_deref(), Some(r"status.status=PAUSE,spec.owner=a\,b\=c"));
    }

    #[test]
    fn a_status_is_read_in_any_case() {
        assert_eq!(read_status("in-progress"), Ok(StatusValue::InProgress));
        assert_eq!(read_status("Pause"), Ok(StatusValue::Pause));
        assert_eq!(read_status("done"), Err("choose one of PENDING, IN_PROGRESS, PAUSE, FAILURE, SUCCESS".to_owned()));
    }
}
