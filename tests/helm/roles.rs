//! Each role of a user, with a service account of its own, tries each action; what the API server answers is judged whole.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Config};
use relocation_operator::api::{ArtifactIndex, Relocation, RelocationPlan};
use serde_json::{Value, json};

use crate::release::Release;
use crate::support::{Scenario, a_plan, a_relocation, run};

const ROLES: [&str; 4] = ["relocation-viewer", "relocation-editor", "relocation-admin", "relocation-plan-admin"];

const DEADLINE: Duration = Duration::from_secs(30);

/// What somebody does.
enum Deed {
    /// A relocation is made with these fields.
    Create(Value),
    /// This relocation, in this status, is changed.
    Change { spec: Value, status: Value, change: Value },
    /// A relocation is replaced by a manifest without optional fields.
    Replace { spec: Value },
    /// A relocation is deleted.
    Delete,
    /// Relocations are listed.
    List,
    /// The index of artifacts is read.
    ReadArtifacts,
    /// Plans are listed.
    ListPlans,
    /// A plan is written.
    WritePlan,
    /// A status is written.
    WriteStatus,
}

/// What must come of it.
enum Wanted {
    /// Roles that hold this verb may; whoever may patch and lacks it is told so in these words.
    Verb(&'static str, &'static str),
    /// These roles may; the others have no right to the object at all.
    Roles(&'static [&'static str]),
    /// Everybody may who may write relocations.
    Writers,
}

fn running() -> Value {
    json!({ "uuid": "run", "status": "IN_PROGRESS", "step": "VALIDATING", "task": "run", "entered": true, "launch": 1 })
}

fn paused() -> Value {
    json!({
        "uuid": "run", "status": "PAUSE", "step": "IMPORTING", "task": "run",
        "pause": { "step": "IMPORTING", "since": "2026-01-01T00:00:00Z", "reason": "Fence", "message": "held" }
    })
}

fn failed() -> Value {
    json!({
        "uuid": "run", "status": "FAILURE", "step": "IMPORTING", "task": "run", "entered": true,
        "failure": {
            "id": "IMPORTING-1-0badcafe", "step": "IMPORTING", "reason": "FatalExitCode", "message": "no",
            "recoverable": true, "entered": true, "at": "2026-01-01T00:00:00Z"
        }
    })
}

/// The verbs of the policy. Beside the shipped roles the test has one for each, which may write and holds it alone:
/// only so does a verb show that is asked for in the place of another.
const VERBS: [&str; 6] = ["pause", "unpause", "cancel", "abort", "suspend", "recover"];

/// Who holds which verb; the admin holds them all.
fn holds(role: &str, verb: &str) -> bool {
    match role {
        "relocation-admin" => true,
        "relocation-editor" => matches!(verb, "pause" | "unpause" | "cancel"),
        _ => role == writer_with(verb),
    }
}

fn writer_with(verb: &str) -> String {
    format!("writer-with-{verb}")
}

/// Whether a role may write relocations at all.
fn writes(role: &str) -> bool {
    role.starts_with("writer-with-") || matches!(role, "relocation-editor" | "relocation-admin")
}

const PAUSE: Wanted = Wanted::Verb("pause", "setting a fence, or moving it to an earlier step, needs the verb pause");
const UNPAUSE: Wanted =
    Wanted::Verb("unpause", "opening a fence, or moving it to a later step, needs the verb unpause");
const CANCEL: Wanted = Wanted::Verb("cancel", "setting or withdrawing cancelAtStep needs the verb cancel");
const ABORT: Wanted = Wanted::Verb("abort", "aborting, or cutting activeDeadlineSeconds short, needs the verb abort");
const SUSPEND: Wanted = Wanted::Verb("suspend", "suspending or resuming needs the verb suspend");
const RECOVER: Wanted = Wanted::Verb("recover", "setting or clearing recover needs the verb recover");
const WRITERS: Wanted = Wanted::Writers;
const ADMIN: Wanted = Wanted::Roles(&["relocation-admin"]);

fn table() -> Vec<(&'static str, Deed, Wanted)> {
    let change = |spec: Value, status: Value, change: Value| Deed::Change { spec, status, change };
    let none = || json!({});
    let recover = "IMPORTING-1-0badcafe";
    vec![
        ("list", Deed::List, Wanted::Roles(&["relocation-viewer", "relocation-editor", "relocation-admin"])),
        ("list plans", Deed::ListPlans, Wanted::Roles(&ROLES)),
        ("read artifacts", Deed::ReadArtifacts, ADMIN),
        ("write a plan", Deed::WritePlan, Wanted::Roles(&["relocation-plan-admin"])),
        ("write a status", Deed::WriteStatus, Wanted::Roles(&[])),
        ("delete", Deed::Delete, ADMIN),
        ("create", Deed::Create(none()), WRITERS),
        ("create with a fence", Deed::Create(json!({ "pauseAtStep": "IMPORTING" })), PAUSE),
        ("create without the plan's fence", Deed::Create(json!({ "autoPause": "Skip" })), UNPAUSE),
        ("create with a cancel", Deed::Create(json!({ "cancelAtStep": "IMPORTING" })), CANCEL),
        ("create suspended", Deed::Create(json!({ "desiredState": "Suspended" })), SUSPEND),
        ("create aborted", Deed::Create(json!({ "desiredState": "Aborted" })), ABORT),
        ("create with a recover", Deed::Create(json!({ "recover": recover })), RECOVER),
        ("create with a deadline", Deed::Create(json!({ "activeDeadlineSeconds": 60 })), WRITERS),
        ("give a reason", change(none(), running(), json!({ "reason": "because" })), WRITERS),
        ("pause", change(none(), running(), json!({ "pauseAtStep": "IMPORTING" })), PAUSE),
        (
            "move the fence back",
            change(json!({ "pauseAtStep": "NOTIFYING" }), running(), json!({ "pauseAtStep": "IMPORTING" })),
            PAUSE,
        ),
        (
            "move the fence on",
            change(json!({ "pauseAtStep": "IMPORTING" }), running(), json!({ "pauseAtStep": "NOTIFYING" })),
            UNPAUSE,
        ),
        (
            "clear the fence",
            change(json!({ "pauseAtStep": "IMPORTING" }), running(), json!({ "pauseAtStep": null })),
            UNPAUSE,
        ),
        ("replace without the fence", Deed::Replace { spec: json!({ "pauseAtStep": "IMPORTING" }) }, UNPAUSE),
        ("unpause", change(json!({ "pauseAtStep": "IMPORTING" }), paused(), json!({ "pauseAtStep": null })), UNPAUSE),
        (
            "unpause until",
            change(json!({ "pauseAtStep": "IMPORTING" }), paused(), json!({ "pauseAtStep": "NOTIFYING" })),
            UNPAUSE,
        ),
        ("a first fence while paused", change(none(), paused(), json!({ "pauseAtStep": "NOTIFYING" })), UNPAUSE),
        ("open the plan's fence", change(none(), paused(), json!({ "autoPause": "Skip" })), UNPAUSE),
        (
            "close the plan's fence",
            change(json!({ "autoPause": "Skip" }), running(), json!({ "autoPause": "Honour" })),
            PAUSE,
        ),
        ("cancel", change(none(), running(), json!({ "cancelAtStep": "IMPORTING" })), CANCEL),
        (
            "withdraw a cancel",
            change(json!({ "cancelAtStep": "IMPORTING" }), running(), json!({ "cancelAtStep": null })),
            CANCEL,
        ),
        ("suspend", change(none(), running(), json!({ "desiredState": "Suspended" })), SUSPEND),
        (
            "resume",
            change(json!({ "desiredState": "Suspended" }), running(), json!({ "desiredState": "Active" })),
            SUSPEND,
        ),
        ("abort", change(none(), running(), json!({ "desiredState": "Aborted" })), ABORT),
        ("add a deadline", change(none(), running(), json!({ "activeDeadlineSeconds": 60 })), ABORT),
        (
            "lower the deadline",
            change(json!({ "activeDeadlineSeconds": 60 }), running(), json!({ "activeDeadlineSeconds": 59 })),
            ABORT,
        ),
        (
            "raise the deadline",
            change(json!({ "activeDeadlineSeconds": 60 }), running(), json!({ "activeDeadlineSeconds": 61 })),
            WRITERS,
        ),
        ("recover", change(none(), failed(), json!({ "recover": recover })), RECOVER),
        ("withdraw a recover", change(json!({ "recover": recover }), failed(), json!({ "recover": null })), RECOVER),
    ]
}

#[tokio::test]
async fn each_role_may_do_what_it_says_and_is_told_what_it_lacks() {
    run(async |scenario| {
        let release = Release::prepare(&scenario.client).await;
        release.install(&["operator.enabled=false"]);
        let mut users = BTreeMap::new();
        for role in ROLES {
            users.insert(role.to_owned(), user_with(scenario, role, "ClusterRole").await);
        }
        for verb in VERBS {
            let role = writer_with(verb);
            create_writer(scenario, &role, verb).await;
            users.insert(role.clone(), user_with(scenario, &role, "Role").await);
        }
        wait_for_the_policy(scenario, &users["relocation-editor"]).await;
        let mut wrong = Vec::new();
        for (number, (what, deed, wanted)) in table().iter().enumerate() {
            for (role, user) in &users {
                let name = format!("{number}-{}", role.trim_start_matches("relocation-"));
                let answer = act(scenario, user, &name, deed).await;
                if let Err(complaint) = judge(role, wanted, &answer, &scenario.namespace) {
                    wrong.push(format!("{role}: {what}: {complaint}: {answer:?}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        release.remove().await;
    })
    .await;
}

fn judge(role: &str, wanted: &Wanted, answer: &Result<(), String>, namespace: &str) -> Result<(), &'static str> {
    let may = match wanted {
        Wanted::Roles(roles) => roles.contains(&role),
        Wanted::Writers => writes(role),
        Wanted::Verb(verb, _) => holds(role, verb),
    };
    let said = match answer {
        Ok(()) if may => return Ok(()),
        Ok(()) => return Err("was let through"),
        Err(_) if may => return Err("was refused"),
        Err(said) => said,
    };
    // Whoever may write the object at all meets the policy, the others RBAC itself.
    let words = match wanted {
        Wanted::Verb(_, words) if writes(role) => {
            format!(
                "{words} on relocations.relocation.dev, which system:serviceaccount:{namespace}:{role} lacks in namespace {namespace}"
            )
        }
        Wanted::Verb(..) | Wanted::Roles(_) | Wanted::Writers => " cannot ".to_owned(),
    };
    if said.contains(&words) { Ok(()) } else { Err("was refused in other words") }
}

/// A role of the namespace that may write relocations and holds one verb of the policy.
async fn create_writer(scenario: &Scenario, name: &str, verb: &str) {
    let roles: Api<Role> = Api::namespaced(scenario.client.clone(), &scenario.namespace);
    let role = serde_json::from_value(json!({
        "metadata": { "name": name },
        "rules": [{
            "apiGroups": ["relocation.dev"], "resources": ["relocations"],
            "verbs": ["create", "update", "patch", verb]
        }]
    }))
    .expect("a role");
    roles.create(&PostParams::default(), &role).await.expect("a role");
}

/// A service account with one role in the namespace, and a client with its token.
async fn user_with(scenario: &Scenario, role: &str, kind: &str) -> Client {
    let namespace = &scenario.namespace;
    let accounts: Api<ServiceAccount> = Api::namespaced(scenario.client.clone(), namespace);
    let account = serde_json::from_value(json!({ "metadata": { "name": role } })).expect("an account");
    accounts.create(&PostParams::default(), &account).await.expect("an account");
    let bindings: Api<RoleBinding> = Api::namespaced(scenario.client.clone(), namespace);
    let binding = serde_json::from_value(json!({
        "metadata": { "name": role },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role },
        "subjects": [{ "kind": "ServiceAccount", "name": role, "namespace": namespace }]
    }))
    .expect("a binding");
    bindings.create(&PostParams::default(), &binding).await.expect("a binding");
    let request: TokenRequest = serde_json::from_value(json!({ "spec": { "audiences": [] } })).expect("a request");
    let token = accounts.create_token_request(role, &PostParams::default(), &request).await.expect("a token");
    let mut config = Config::infer().await.expect("a kubeconfig");
    config.auth_info = kube::config::AuthInfo {
        token: Some(token.status.expect("a token").token.into()),
        ..kube::config::AuthInfo::default()
    };
    Client::try_from(config).expect("a client")
}

/// A policy works a moment after it is stored.
async fn wait_for_the_policy(scenario: &Scenario, editor: &Client) {
    let relocations: Api<Relocation> = Api::namespaced(editor.clone(), &scenario.namespace);
    let aborted = a_relocation("probe").with(json!({ "desiredState": "Aborted" })).build();
    let aborted: Relocation = serde_json::from_value(aborted).expect("a relocation");
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    let refused = async {
        while !message_of(relocations.create(&dry_run, &aborted).await)
            .is_err_and(|said| said.contains("the verb abort"))
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(DEADLINE, refused).await.expect("the policy works in time");
}

async fn act(scenario: &Scenario, user: &Client, name: &str, deed: &Deed) -> Result<(), String> {
    let name = &format!("deed-{name}");
    let namespace = &scenario.namespace;
    let relocations: Api<Relocation> = Api::namespaced(user.clone(), namespace);
    match deed {
        Deed::List => message_of(relocations.list(&ListParams::default()).await),
        Deed::Create(spec) => {
            let relocation = a_relocation(name).with(spec.clone()).build();
            let relocation = serde_json::from_value(relocation).expect("a relocation");
            message_of(relocations.create(&PostParams::default(), &relocation).await)
        }
        Deed::Change { spec, status, change } => {
            prepare(scenario, name, spec, status).await;
            let patch = Patch::Merge(json!({ "spec": change }));
            message_of(relocations.patch(name, &PatchParams::default(), &patch).await)
        }
        Deed::Replace { spec } => {
            prepare(scenario, name, spec, &running()).await;
            let stored = scenario.relocations().get(name).await.expect("the relocation");
            let mut bare = serde_json::to_value(&stored).expect("JSON");
            bare["spec"] = a_relocation(name).build()["spec"].clone();
            let bare = serde_json::from_value(bare).expect("a relocation");
            message_of(relocations.replace(name, &PostParams::default(), &bare).await)
        }
        Deed::Delete => {
            prepare(scenario, name, &json!({}), &running()).await;
            message_of(relocations.delete(name, &DeleteParams::default()).await)
        }
        Deed::ReadArtifacts => {
            let indices: Api<ArtifactIndex> = Api::namespaced(user.clone(), namespace);
            message_of(indices.list(&ListParams::default()).await)
        }
        Deed::ListPlans => {
            let plans: Api<RelocationPlan> = Api::namespaced(user.clone(), namespace);
            message_of(plans.list(&ListParams::default()).await)
        }
        Deed::WritePlan => {
            let plans: Api<RelocationPlan> = Api::namespaced(user.clone(), namespace);
            let plan = serde_json::from_value(a_plan(name).with_six_steps().build()).expect("a plan");
            message_of(plans.create(&PostParams::default(), &plan).await)
        }
        Deed::WriteStatus => {
            prepare(scenario, name, &json!({}), &running()).await;
            let patch = Patch::Merge(json!({ "status": { "task": "another" } }));
            message_of(relocations.patch_status(name, &PatchParams::default(), &patch).await)
        }
    }
}

/// A relocation with this spec and status, made by the administrator.
async fn prepare(scenario: &Scenario, name: &str, spec: &Value, status: &Value) {
    scenario.create(a_relocation(name).with(spec.clone())).await;
    scenario.patch_status(name, status.clone()).await.expect("a status");
}

fn message_of<T>(answer: kube::Result<T>) -> Result<(), String> {
    match answer {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message.clone()),
        Err(other) => Err(other.to_string()),
    }
}
