//! `doctor`: whether everything is there that relocations need, and how to mend what is not.

use anstyle::Style;
use clap::Args;
use futures::future::join_all;
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::api::{Api, ListParams, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::ages;
use super::super::cluster::{Cluster, Place};
use super::super::error::Error;
use super::super::outcome::Outcome;
use super::super::output::OutputArguments;
use super::super::session::Session;
use super::super::terminal::{BAD, FAINT, GOOD, WAITING, harmless, styled};
use crate::api::{
    ConditionType, GROUP, Relocation, RelocationPlan, VERSION, all_crds, condition_status, find_condition,
};

/// The oldest minor version of Kubernetes 1 that is supported.
const OLDEST_MINOR: u32 = 33;

/// The label of the operator's Deployment.
const OPERATOR: &str = "app.kubernetes.io/name=relocation-operator";

/// An operator that runs answers a change within a second.
const SOON: SignedDuration = SignedDuration::from_secs(30);

/// What a person needs to see everything: verb, group, resource, subresource.
const READING: [(&str, &str, &str, &str); 10] = [
    ("get", GROUP, "relocations", ""),
    ("list", GROUP, "relocations", ""),
    ("watch", GROUP, "relocations", ""),
    ("get", GROUP, "relocationplans", ""),
    ("get", GROUP, "artifactindices", ""),
    ("list", "batch", "jobs", ""),
    ("list", "", "pods", ""),
    ("get", "", "pods", "log"),
    ("list", "", "events", ""),
    ("get", "apps", "controllerrevisions", ""),
];

/// What a person needs to act; the verbs after the first two only where a policy asks for them.
const ACTING: [&str; 8] = ["create", "patch", "pause", "unpause", "cancel", "suspend", "abort", "recover"];

/// The flags of `doctor`.
#[derive(Args, Debug)]
#[command(after_help = "\
EXAMPLES
  kubectl relocation doctor            of this namespace
  kubectl relocation doctor -A         plans and relocations of all namespaces
  kubectl relocation doctor --as jane  what jane may do
  kubectl relocation doctor -o json

Exit code 0 when nothing is wrong, 1 when something is. What you may not see is said and counts as neither.")]
pub struct DoctorArguments {
    #[command(flatten)]
    output: OutputArguments,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    about: String,
    finding: Finding,
    text: String,
    /// How to mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<String>,
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Finding {
    /// As it should be.
    Ok,
    /// It works, and could be better.
    Advice,
    /// Wrong.
    Problem,
    /// Not to be seen by this person.
    Unknown,
}

impl Finding {
    const fn word(self) -> (&'static str, Style) {
        match self {
            Self::Ok => ("ok", GOOD),
            Self::Advice => ("advice", WAITING),
            Self::Problem => ("problem", BAD),
            Self::Unknown => ("unseen", FAINT),
        }
    }
}

fn check(about: &str, finding: Finding, text: impl Into<String>, mend: Option<&str>) -> Check {
    Check { about: about.to_owned(), finding, text: text.into(), mend: mend.map(str::to_owned) }
}

fn unseen(about: &str, error: &Error) -> Check {
    check(about, Finding::Unknown, error.to_string(), None)
}

impl DoctorArguments {
    /// Looks at all of it.
    pub async fn run(&self, session: &Session) -> Result<Outcome, Error> {
        let cluster = session.cluster().await?;
        let now = session.now();
        let mut checks = vec![server(&cluster).await?];
        let (kinds, served, permissions, operator, relocations, plans, policy) = futures::join!(
            kinds(&cluster),
            served(&cluster),
            permissions(&cluster),
            operator(&cluster, now),
            answers(&cluster, now),
            plans(&cluster),
            policy(&cluster),
        );
        checks.extend(kinds);
        checks.extend(served);
        checks.extend(permissions);
        checks.extend(operator);
        checks.extend(relocations);
        checks.extend(plans);
        checks.extend(policy);
        let problems = checks.iter().filter(|check| check.finding == Finding::Problem).count();
        if self.output.is_for_programs() {
            let value = serde_json::to_value(&checks).unwrap_or(Value::Null);
            let names: Vec<String> =
                checks.iter().map(|check| format!("{}/{}", check.finding.word().0, check.about)).collect();
            self.output.print_value(session, &value, &names)?;
        } else {
            session.print(&checks.iter().map(line).collect::<String>())?;
            session.remark(&match problems {
                0 => "nothing is wrong".to_owned(),
                many => counted(many, "problem"),
            });
        }
        Ok(if problems == 0 { Outcome::Done } else { Outcome::Error })
    }
}

fn line(check: &Check) -> String {
    let (word, style) = check.finding.word();
    let gap = " ".repeat(8 - word.len());
    let mend = check.mend.as_ref().map(|mend| format!("          {}\n", harmless(mend))).unwrap_or_default();
    format!("{}{gap}  {:12}  {}\n{mend}", styled(word, style), check.about, harmless(&check.text))
}

/// That it answers at all; without it there is nothing to look at.
async fn server(cluster: &Cluster) -> Result<Check, Error> {
    let info = cluster.within(cluster.client().apiserver_version()).await?;
    let info = info.map_err(|error| cluster.explain("get", "/version", &Place::Everywhere, error))?;
    let digits: String = info.minor.chars().take_while(char::is_ascii_digit).collect();
    let text = format!("Kubernetes {}", info.git_version);
    Ok(match digits.parse::<u32>() {
        Ok(minor) if info.major == "1" && minor < OLDEST_MINOR => {
            let mend = format!("upgrade the cluster to Kubernetes 1.{OLDEST_MINOR} or newer");
            check("server", Finding::Problem, text, Some(&mend))
        }
        _ => check("server", Finding::Ok, text, None),
    })
}

const INSTALL_KINDS: &str = "install them with: kubectl apply --server-side -f crds/";

/// The definitions, and whether they are those of this program.
async fn kinds(cluster: &Cluster) -> Vec<Check> {
    let api: Api<CustomResourceDefinition> = Api::all(cluster.client());
    let mut checks = Vec::new();
    for ours in all_crds() {
        let name = ours.name_any();
        let kind = ours.spec.names.kind.clone();
        let read = cluster
            .within(api.get_opt(&name))
            .await
            .and_then(|answer| answer.map_err(|error| explain(cluster, "get", "customresourcedefinitions", error)));
        checks.push(match read {
            Err(error) => unseen("kinds", &error),
            Ok(None) => {
                check("kinds", Finding::Problem, format!("the kind {kind} is not installed"), Some(INSTALL_KINDS))
            }
            Ok(Some(theirs)) => compare(&kind, &ours, &theirs),
        });
    }
    join(checks)
}

/// One line for all that is well, and for what nobody may see.
fn join(checks: Vec<Check>) -> Vec<Check> {
    let alike = |finding: Finding| checks.iter().filter(|check| check.finding == finding).count() == checks.len();
    if alike(Finding::Ok) {
        let text = format!("{GROUP}/{VERSION} is installed, and is what this program was made for");
        return vec![check("kinds", Finding::Ok, text, None)];
    }
    if alike(Finding::Unknown) { checks.into_iter().take(1).collect() } else { checks }
}

fn compare(kind: &str, ours: &CustomResourceDefinition, theirs: &CustomResourceDefinition) -> Check {
    let version =
        |crd: &CustomResourceDefinition| crd.spec.versions.iter().find(|version| version.name == VERSION).cloned();
    let (ours, theirs) = (version(ours), version(theirs));
    match theirs {
        Some(theirs) if !theirs.served => {
            check("kinds", Finding::Problem, format!("the kind {kind} is not served as {VERSION}"), Some(INSTALL_KINDS))
        }
        None => {
            check("kinds", Finding::Problem, format!("the kind {kind} has no version {VERSION}"), Some(INSTALL_KINDS))
        }
        // The order and the form of numbers are the API server's own; as values they are alike.
        Some(theirs) if ours.as_ref().is_none_or(|ours| ours.schema != theirs.schema) => check(
            "kinds",
            Finding::Problem,
            format!("the schema of {kind} is of another version than this program ({})", env!("CARGO_PKG_VERSION")),
            Some(
                "update whichever is older, the plugin or the definitions; the definitions with: kubectl apply --server-side -f crds/",
            ),
        ),
        Some(_) => check("kinds", Finding::Ok, format!("{kind} is installed"), None),
    }
}

/// Whether the kinds can be asked for, which everybody may see.
async fn served(cluster: &Cluster) -> Option<Check> {
    let listed = cluster.within(cluster.client().list_api_group_resources(&format!("{GROUP}/{VERSION}"))).await;
    match listed {
        Ok(Ok(_)) => None,
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
            let text = format!("the API server does not serve {GROUP}/{VERSION}");
            Some(check("kinds", Finding::Problem, text, Some(INSTALL_KINDS)))
        }
        Ok(Err(error)) => Some(unseen("kinds", &explain(cluster, "get", "/apis", error))),
        Err(error) => Some(unseen("kinds", &error)),
    }
}

/// What this person may do here, by the API server's own word.
async fn permissions(cluster: &Cluster) -> Vec<Check> {
    let reading =
        join_all(READING.iter().map(|(verb, group, resource, sub)| may(cluster, verb, group, resource, sub))).await;
    let acting = join_all(ACTING.iter().map(|verb| may(cluster, verb, GROUP, "relocations", ""))).await;
    let mut checks = Vec::new();
    if let Some(error) = reading.iter().chain(&acting).find_map(|answer| answer.as_ref().err()) {
        return vec![unseen("reading", error)];
    }
    let lacking = |answers: &[Result<bool, Error>], names: &[String]| -> Vec<String> {
        let missing = answers.iter().zip(names).filter(|(answer, _)| matches!(answer, Ok(false)));
        missing.map(|(_, name)| name.clone()).collect()
    };
    let names: Vec<String> = READING
        .iter()
        .map(|(verb, _, resource, sub)| {
            let slash = if sub.is_empty() { "" } else { "/" };
            format!("{verb} {resource}{slash}{sub}")
        })
        .collect();
    let missing = lacking(&reading, &names);
    let needed = missing.iter().any(|name| name.ends_with(" relocations"));
    checks.push(match (missing.is_empty(), needed) {
        (true, _) => check("reading", Finding::Ok, "you may read all that is shown", None),
        (false, true) => {
            check("reading", Finding::Problem, format!("you may not {}", missing.join(", ")), Some(ASK_VIEWER))
        }
        (false, false) => check(
            "reading",
            Finding::Advice,
            format!("you may not {}; that part is left out of what is shown", missing.join(", ")),
            Some(ASK_VIEWER),
        ),
    });
    let names: Vec<String> = ACTING.iter().map(ToString::to_string).collect();
    let missing = lacking(&acting, &names);
    // The verbs of single actions count only where a policy asks for them.
    checks.push(match missing.as_slice() {
        [] => check("acting", Finding::Ok, "you may do everything with relocations", None),
        missing if missing.iter().any(|verb| verb == "patch") => check(
            "acting",
            Finding::Advice,
            "you may look and not change anything: patch on relocations is not allowed to you",
            Some(ASK_EDITOR),
        ),
        missing => check(
            "acting",
            Finding::Advice,
            format!("you lack the verbs {} on relocations", missing.join(", ")),
            Some(ASK_EDITOR),
        ),
    });
    checks
}

const ASK_VIEWER: &str = "ask for a role that has it, such as the ClusterRole relocation-viewer";
const ASK_EDITOR: &str =
    "if you should, ask for a role that has it, such as the ClusterRole relocation-editor or relocation-admin";

async fn may(cluster: &Cluster, verb: &str, group: &str, resource: &str, subresource: &str) -> Result<bool, Error> {
    let namespace = match cluster.place() {
        Place::Namespace(namespace) => Some(namespace.clone()),
        Place::Everywhere => None,
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                namespace,
                verb: Some(verb.to_owned()),
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource: (!subresource.is_empty()).then(|| subresource.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client());
    #[expect(clippy::disallowed_methods, reason = "a question that is asked by a POST; nothing is stored")]
    let answer = cluster.within(api.create(&PostParams::default(), &review)).await?;
    let answer = answer.map_err(|error| explain(cluster, "create", "selfsubjectaccessreviews", error))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// The operator's Deployments, and who leads.
async fn operator(cluster: &Cluster, now: Timestamp) -> Vec<Check> {
    let parameters = ListParams::default().labels(OPERATOR);
    let deployments = match list::<Deployment>(cluster, "deployments", &parameters).await {
        Err(error) => return vec![unseen("operator", &error)],
        Ok(deployments) => deployments,
    };
    if deployments.is_empty() {
        let text = "there is no Deployment of it in this cluster; it may run elsewhere, see what answers";
        return vec![check(
            "operator",
            Finding::Advice,
            text,
            Some("install it with: make install, or the Helm chart"),
        )];
    }
    let mut checks = Vec::new();
    for deployment in deployments {
        let (namespace, name) = (deployment.namespace().unwrap_or_default(), deployment.name_any());
        let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let ready = deployment.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
        let text = format!("{namespace}/{name}: {ready} of {wanted} ready");
        let mend = if wanted == 0 {
            format!("start it with: kubectl scale deployment/{name} -n {namespace} --replicas=1")
        } else {
            format!("see why with: kubectl describe pods -n {namespace} -l {OPERATOR}")
        };
        let finding = if ready == 0 {
            Finding::Problem
        } else if ready < wanted {
            Finding::Advice
        } else {
            Finding::Ok
        };
        checks.push(check("operator", finding, text, (finding != Finding::Ok).then_some(mend.as_str())));
        if ready > 0 {
            checks.extend(leader(cluster, &deployment, now).await);
        }
    }
    checks
}

/// The Lease by which the replicas choose who works, where they do.
async fn leader(cluster: &Cluster, deployment: &Deployment, now: Timestamp) -> Option<Check> {
    let (namespace, name) = (deployment.namespace()?, deployment.name_any());
    let template = deployment.spec.as_ref()?.template.spec.as_ref()?;
    let mut words = template.containers.iter().flat_map(|container| container.args.iter().flatten());
    let given = words.find_map(|word| word.strip_prefix("--lease-name=")).map(str::to_owned);
    let elects = given.is_some();
    let api: Api<Lease> = Api::namespaced(cluster.client(), &namespace);
    let lease = match cluster.within(api.get_opt(&given.unwrap_or(name))).await {
        Ok(Ok(lease)) => lease,
        Ok(Err(error)) => return Some(unseen("leader", &explain(cluster, "get", "leases", error))),
        Err(error) => return Some(unseen("leader", &error)),
    };
    judge_leader(lease.and_then(|lease| lease.spec), elects, now)
}

/// Whether somebody leads, by the Lease; without one, only who was told to elect has to.
fn judge_leader(spec: Option<LeaseSpec>, elects: bool, now: Timestamp) -> Option<Check> {
    let Some(spec) = spec else {
        return elects
            .then(|| check("leader", Finding::Problem, "no replica leads", Some("look at the operator's log")));
    };
    let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
    let age = spec.renew_time.map(|time| now.duration_since(time.0));
    let lasts = SignedDuration::from_secs(i64::from(spec.lease_duration_seconds.unwrap_or(15)));
    Some(match (holder, age) {
        (Some(holder), Some(age)) if age > lasts + lasts => check(
            "leader",
            Finding::Problem,
            format!("{holder} has not renewed its Lease for {}", ages::short(age)),
            Some("look at the operator's log; another replica takes over when it can"),
        ),
        (Some(holder), _) => check("leader", Finding::Ok, format!("{holder} leads"), None),
        (None, _) => check("leader", Finding::Problem, "no replica leads", Some("look at the operator's log")),
    })
}

/// Whether somebody answers what people write: the surest sign of an operator that works.
async fn answers(cluster: &Cluster, now: Timestamp) -> Vec<Check> {
    let relocations = match cluster.list::<Relocation>(&ListParams::default()).await {
        Err(Error::KindsMissing { .. }) => return Vec::new(),
        Err(error) => return vec![unseen("answers", &error)],
        Ok(listed) => listed,
    };
    let (relocations, unreadable) = relocations.typed::<Relocation>();
    let mut checks = Vec::new();
    let unanswered: Vec<String> =
        relocations.iter().filter(|relocation| is_unanswered(relocation, now)).map(place_of).collect();
    checks.push(if unanswered.is_empty() {
        check(
            "answers",
            Finding::Ok,
            format!("each request is answered, of {}", counted(relocations.len(), "relocation")),
            None,
        )
    } else {
        let text = format!("nobody answers {}", some(&unanswered));
        check(
            "answers",
            Finding::Problem,
            text,
            Some("no operator works here; see its log, and which namespace it is for"),
        )
    });
    if unreadable > 0 {
        let text = format!("{} written by a newer version", counted(unreadable, "relocation"));
        checks.push(check("answers", Finding::Problem, text, Some("update the plugin")));
    }
    checks
}

fn is_unanswered(relocation: &Relocation, now: Timestamp) -> bool {
    let answered = relocation.status.as_ref().and_then(|status| status.observed_generation);
    if answered == relocation.metadata.generation {
        return false;
    }
    // The last time that somebody wrote the spec; without a record of it, when it was made.
    let fields = relocation.metadata.managed_fields.iter().flatten().filter(|fields| fields.subresource.is_none());
    let written = fields.filter_map(|fields| fields.time.as_ref().map(|time| time.0)).max();
    let written = written.or_else(|| relocation.creation_timestamp().map(|time| time.0));
    written.is_none_or(|written| now.duration_since(written) > SOON)
}

/// Plans that the operator has refused.
async fn plans(cluster: &Cluster) -> Vec<Check> {
    let plans = match cluster.list::<RelocationPlan>(&ListParams::default()).await {
        Err(Error::KindsMissing { .. }) => return Vec::new(),
        Err(error) => return vec![unseen("plans", &error)],
        Ok(listed) => listed.typed::<RelocationPlan>().0,
    };
    let mut checks = Vec::new();
    let mut unjudged = Vec::new();
    for plan in &plans {
        let conditions = plan.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        match find_condition(conditions, ConditionType::Accepted) {
            Some(accepted) if accepted.status == condition_status::TRUE => {}
            Some(refused) => {
                let text = format!("{} is not accepted: {}", place_of(plan), refused.message);
                checks.push(check(
                    "plans",
                    Finding::Problem,
                    text,
                    Some("mend it and apply it again; what waits for it goes on by itself"),
                ));
            }
            None => unjudged.push(place_of(plan)),
        }
    }
    if !unjudged.is_empty() {
        let text = format!("no operator has looked at {} yet", some(&unjudged));
        checks.push(check("plans", Finding::Advice, text, None));
    }
    if checks.is_empty() {
        let text = if plans.is_empty() {
            "there is none".to_owned()
        } else {
            format!("{}, all accepted", counted(plans.len(), "plan"))
        };
        checks.push(check("plans", Finding::Ok, text, None));
    }
    checks
}

/// The policy by which each action needs a verb of its own.
async fn policy(cluster: &Cluster) -> Vec<Check> {
    let all = ListParams::default();
    let (policies, bindings) = futures::join!(
        list::<ValidatingAdmissionPolicy>(cluster, "validatingadmissionpolicies", &all),
        list::<ValidatingAdmissionPolicyBinding>(cluster, "validatingadmissionpolicybindings", &all),
    );
    let (policies, bindings) = match (policies, bindings) {
        (Ok(policies), Ok(bindings)) => (policies, bindings),
        (Err(error), _) | (_, Err(error)) => return vec![unseen("policy", &error)],
    };
    let is_ours = |policy: &&ValidatingAdmissionPolicy| {
        let matched = policy.spec.as_ref().and_then(|spec| spec.match_constraints.as_ref());
        let rules = matched.and_then(|matched| matched.resource_rules.as_ref()).into_iter().flatten();
        rules.filter_map(|rule| rule.api_groups.as_ref()).flatten().any(|group| group == GROUP)
    };
    let ours: Vec<String> = policies.iter().filter(is_ours).map(ResourceExt::name_any).collect();
    let bound = bindings.iter().filter_map(|binding| binding.spec.as_ref()?.policy_name.clone());
    let bound: Vec<String> = bound.filter(|name| ours.contains(name)).collect();
    vec![match (ours.is_empty(), bound.is_empty()) {
        (false, false) => {
            check("policy", Finding::Ok, format!("{} asks for a verb per action", bound.join(", ")), None)
        }
        (false, true) => check(
            "policy",
            Finding::Problem,
            format!("{} is bound to nothing", ours.join(", ")),
            Some("install the chart's ValidatingAdmissionPolicyBinding again"),
        ),
        (true, _) => check(
            "policy",
            Finding::Advice,
            "no policy asks for a verb per action: whoever may patch a relocation may also abort it",
            Some("install the Helm chart with its admission policy"),
        ),
    }]
}

async fn list<K>(cluster: &Cluster, resource: &'static str, parameters: &ListParams) -> Result<Vec<K>, Error>
where
    K: kube::Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let listed = cluster.within(Api::<K>::all(cluster.client()).list(parameters)).await?;
    listed.map(|list| list.items).map_err(|error| explain(cluster, "list", resource, error))
}

fn explain(cluster: &Cluster, verb: &'static str, resource: &str, error: kube::Error) -> Error {
    cluster.explain(verb, resource, &Place::Everywhere, error)
}

fn place_of<K: kube::Resource>(object: &K) -> String {
    format!("{}/{}", object.meta().namespace.clone().unwrap_or_default(), object.name_any())
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn some(names: &[String]) -> String {
    let more = if names.len() > 3 { format!(" and {} more", names.len() - 3) } else { String::new() };
    format!("{}{more}", names.iter().take(3).cloned().collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_definition_is_compared_by_value() {
        let crds = all_crds();
        for ours in &crds {
            // The API server sends numbers of the schema in another form.
            let mut sent = serde_json::to_value(ours).unwrap();
            sent["status"] = json!({ "acceptedNames": { "kind": "x", "plural": "x" } });
            let theirs: CustomResourceDefinition = serde_json::from_value(sent.clone()).unwrap();
            assert_eq!(compare("K", ours, &theirs).finding, Finding::Ok);
            let versions = &mut sent["spec"]["versions"][0];
            versions["schema"]["openAPIV3Schema"]["description"] = json!("older");
            let theirs: CustomResourceDefinition = serde_json::from_value(sent.clone()).unwrap();
            assert_eq!(compare("K", ours, &theirs).finding, Finding::Problem);
            sent["spec"]["versions"][0]["served"] = json!(false);
            let theirs: CustomResourceDefinition = serde_json::from_value(sent).unwrap();
            assert!(compare("K", ours, &theirs).text.contains("not served"));
        }
    }

    #[test]
    fn somebody_leads_who_renews_the_lease() {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let told = |lease: serde_json::Value, elects| {
            let lease = serde_json::from_value(lease).unwrap();
            judge_leader(lease, elects, now).map(|check| format!("{:?}: {}", check.finding, check.text))
        };
        let held = |holder: &str, renewed: &str| json!({ "holderIdentity": holder, "renewTime": renewed, "leaseDurationSeconds": 15 });
        assert_eq!(told(json!(null), false), None);
        assert_eq!(told(json!(null), true), Some("Problem: no replica leads".to_owned()));
        assert_eq!(told(held("", "2026-01-01T00:59:55Z"), true), Some("Problem: no replica leads".to_owned()));
        assert_eq!(told(held("a", "2026-01-01T00:59:55Z"), true), Some("Ok: a leads".to_owned()));
        let old = told(held("a", "2026-01-01T00:59:00Z"), true);
        assert_eq!(old, Some("Problem: a has not renewed its Lease for 60s".to_owned()));
    }

    #[test]
    fn what_is_not_answered_for_long_is_found() {
        let relocation = |answered: i64, written: &str| -> Relocation {
            serde_json::from_value(json!({
                "metadata": { "name": "acme", "generation": 2, "creationTimestamp": "2026-01-01T00:00:00Z",
                    "managedFields": [{ "manager": "m", "operation": "Update", "time": written }] },
                "spec": { "planRef": { "name": "files" }, "owner": "acme" }, "status": { "observedGeneration": answered }
            }))
            .unwrap()
        };
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        assert!(is_unanswered(&relocation(1, "2026-01-01T00:59:00Z"), now));
        assert!(!is_unanswered(&relocation(1, "2026-01-01T00:59:50Z"), now));
        assert!(!is_unanswered(&relocation(2, "2026-01-01T00:00:00Z"), now));
    }
}
