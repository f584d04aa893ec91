//! `create`: make a relocation, by flags or from a file.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use kube::ResourceExt;
use serde_json::{Map, Value, json};

use super::super::acting::{AfterArguments, read_stoppable_step};
use super::super::cluster::{Cluster, Found};
use super::super::diff::diff;
use super::super::error::Error;
use super::super::manifest;
use super::super::outcome::Outcome;
use super::super::session::Session;
use super::super::waiting::{Goal, Wait, wait};
use super::super::writing::{Written, create};
use super::patch::read_pair;
use super::retry::taken;
use crate::api::{GROUP, Relocation, RelocationPlan, Step, VERSION};

/// The flags of `create`.
#[derive(Args, Debug)]
#[command(
    arg_required_else_help = true,
    after_help = "\
EXAMPLES
  kubectl relocation create acme --plan files --owner acme --item wiki --item shop
  kubectl relocation create acme --plan files --owner acme --param TARGET=/data --pause-at-step importing
  kubectl relocation create -f acme.yaml
  kubectl relocation create -f acme.yaml --dry-run=server
  kubectl relocation create acme --plan files --owner acme --wait

What it would run, before it is made: kubectl relocation explain -f acme.yaml"
)]
pub struct CreateArguments {
    /// The name of the new relocation
    #[arg(id = "new_name", value_name = "NAME", required_unless_present = "file", conflicts_with = "file")]
    name: Option<String>,
    /// A manifest with relocations; - reads standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    fields: NewFields,
    /// Why; stored with it
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    after: AfterArguments,
}

/// The fields of the new relocation.
#[derive(Args, Debug)]
#[group(conflicts_with = "file")]
struct NewFields {
    /// The plan that says what each step runs
    #[arg(long, required_unless_present = "file")]
    plan: Option<String>,
    /// Who answers for the data
    #[arg(long, required_unless_present = "file")]
    owner: Option<String>,
    /// What to move, as named at the source; may be given more than once
    #[arg(long = "item", value_name = "ITEM")]
    items: Vec<String>,
    /// A value for a parameter of the plan; may be given more than once
    #[arg(long = "param", value_name = "KEY=VALUE", value_parser = read_pair)]
    parameters: Vec<(String, String)>,
    /// Where the data comes from; picks the plan's automatic fence
    #[arg(long, value_enum, ignore_case = true)]
    provenance: Option<From>,
    /// Stop before this step, in any case of letters
    #[arg(long, value_name = "STEP", value_parser = read_stoppable_step)]
    pause_at_step: Option<Step>,
    /// At most one relocation per mutex works at a time; the owner when absent
    #[arg(long, value_name = "NAME")]
    mutex: Option<String>,
    /// Wait while another one holds the mutex, instead of failing
    #[arg(long)]
    wait_for_lock: bool,
    /// The budget of the whole run
    #[arg(long, value_name = "SECONDS")]
    active_deadline_seconds: Option<i64>,
    /// How long after success its Jobs, pods and workspace stay
    #[arg(long, value_name = "SECONDS")]
    cleanup_seconds_after_finished: Option<i64>,
    /// An identity that survives making the object anew
    #[arg(long)]
    uuid: Option<String>,
}

/// Where the data comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum From {
    /// An installation that the owner runs.
    #[value(name = "self_hosted", alias = "self-hosted")]
    SelfHosted,
    /// One hosted region or service.
    #[value(name = "saas_to_saas", alias = "saas-to-saas")]
    SaasToSaas,
}

impl CreateArguments {
    /// Makes it.
    pub async fn run(&self, session: &Session) -> Result<Outcome, Error> {
        let mut objects = match (&self.name, &self.file) {
            (_, Some(file)) => Self::read(file)?,
            (Some(name), None) => vec![self.fields.object(name)],
            (None, None) => return Err(Error::Usage("name the new relocation, or a file with -f".to_owned())),
        };
        let cluster = session.cluster_in_one_namespace().await?;
        if self.after.wait && objects.len() > 1 {
            return Err(Error::Usage(
                "--wait waits for one relocation, and the file holds more; leave it out".to_owned(),
            ));
        }
        let mut last = None;
        for object in &mut objects {
            if let Some(reason) = &self.reason {
                object["spec"]["reason"] = reason.as_str().into();
            }
            last = Some(self.create(session, &cluster, object).await?);
        }
        match last {
            Some(created) if self.after.wait => {
                let goal = if created.object.spec.pause_at_step.is_some() { Goal::Paused } else { Goal::Succeeded };
                let name = created.object.name_any();
                let generation = created.object.metadata.generation;
                wait(session, &cluster, &name, &Wait { goal, generation, timeout: self.after.timeout }).await
            }
            Some(_) | None => Ok(Outcome::Done),
        }
    }

    fn read(file: &std::path::Path) -> Result<Vec<Value>, Error> {
        let objects = manifest::read(file)?;
        let (relocations, others): (Vec<Value>, Vec<Value>) =
            objects.into_iter().partition(|object| object["kind"] == "Relocation");
        if let Some(other) = others.first() {
            let kind = other["kind"].as_str().unwrap_or("something without a kind");
            let file = file.display();
            return Err(Error::Usage(format!(
                "{file} holds {kind}, which this command does not make; apply the file as a whole with: kubectl apply --server-side -f {file}"
            )));
        }
        if relocations.is_empty() {
            return Err(Error::Usage(format!("{} holds no Relocation", file.display())));
        }
        Ok(relocations)
    }

    async fn create(&self, session: &Session, cluster: &Cluster, object: &Value) -> Result<Found<Relocation>, Error> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if let Some(namespace) = object["metadata"]["namespace"].as_str().filter(|known| *known != cluster.namespace())
        {
            return Err(Error::Usage(format!(
                "{name} belongs to the namespace {namespace:?} and this is {:?}; add -n {namespace}",
                cluster.namespace()
            )));
        }
        let Written::Stored(created) = create(cluster, object, self.after.mode()).await? else {
            return Err(taken(&name, &session.repeated_flags()));
        };
        let relocation = &created.object;
        let name = relocation.name_any();
        let flags = session.repeated_flags();
        if self.after.dry_run.is_some() {
            session.print(&diff(&Value::Null, &created.sent))?;
            session.remark(&format!("not stored: {name} could be made"));
        } else {
            session.print(&format!(
                "{name} is made; see how it goes with: kubectl relocation status {name} --watch{flags}\n"
            ))?;
        }
        let plan = &relocation.spec.plan_ref.name;
        // It waits for its plan, which may come later in the same breath; who may not read plans is not told.
        if let Ok(None) = cluster.get_opt::<RelocationPlan>(plan).await {
            session.remark(&format!("note: there is no plan {plan:?} in this namespace yet; it waits for one"));
        }
        Ok(*created)
    }
}

impl NewFields {
    fn object(&self, name: &str) -> Value {
        let Self {
            plan,
            owner,
            items,
            parameters,
            provenance,
            pause_at_step,
            mutex,
            wait_for_lock,
            active_deadline_seconds,
            cleanup_seconds_after_finished,
            uuid,
        } = self;
        let provenance = provenance.map(|from| match from {
            From::SelfHosted => "SELF_HOSTED",
            From::SaasToSaas => "SAAS_TO_SAAS",
        });
        let parameters: Map<String, Value> =
            parameters.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
        let fields = [
            ("planRef", json!({ "name": plan })),
            ("owner", json!(owner)),
            ("items", if items.is_empty() { Value::Null } else { json!(items) }),
            ("parameters", if parameters.is_empty() { Value::Null } else { Value::Object(parameters) }),
            ("provenance", json!(provenance)),
            ("pauseAtStep", json!(pause_at_step)),
            ("mutex", json!(mutex)),
            ("whenLocked", if *wait_for_lock { json!("Wait") } else { Value::Null }),
            ("activeDeadlineSeconds", json!(active_deadline_seconds)),
            ("cleanupSecondsAfterFinished", json!(cleanup_seconds_after_finished)),
            ("uuid", json!(uuid)),
        ];
        let spec: Map<String, Value> = fields
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "Relocation",
            "metadata": { "name": name }, "spec": spec
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use expect_test::expect;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        create: CreateArguments,
    }

    #[test]
    fn flags_become_a_spec_without_what_was_not_said() {
        let object = |line: &str| {
            let parsed = Line::try_parse_from(line.split(' ')).map(|line| line.create.fields.object("acme"));
            parsed.map_or_else(|error| error.to_string(), |object| object["spec"].to_string())
        };
        expect![[r#"{"planRef":{"name":"files"},"owner":"acme"}"#]]
            .assert_eq(&object("create acme --plan files --owner acme"));
        expect![[r#"{"planRef":{"name":"files"},"owner":"acme","items":["wiki","shop"],"parameters":{"A":"b=c"},"provenance":"SAAS_TO_SAAS","pauseAtStep":"IMPORTING","mutex":"m","whenLocked":"Wait","activeDeadlineSeconds":60,"cleanupSecondsAfterFinished":0}"#]].assert_eq(&object(
            "create acme --plan files --owner acme --item wiki --item shop --param A=b=c --provenance SAAS_TO_SAAS \
             --pause-at-step importing --mutex m --wait-for-lock --active-deadline-seconds 60 --cleanup-seconds-after-finished 0",
        ));
        assert!(object("create acme --plan files").contains("--owner"));
        assert!(object("create -f x.yaml --plan files").contains("cannot be used with"));
    }
}
