//! The Job of a launch, as it is sent to the API server.

use expect_test::expect;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::fixtures::{Scene, a_relocation, template};
use crate::api::{OnEnd, PodTemplate, Step, WorkspaceSpec};
use crate::lifecycle::{build_end_job, build_job, build_sample_job, build_workspace};

fn with_template(step: Step, value: Value) -> Scene {
    a_relocation().planned(|plan| {
        let planned = plan.steps.iter_mut().find(|planned| planned.step == step).expect("the step");
        planned.tasks[0].template = template(value);
    })
}

fn with_workspace(scene: Scene) -> Scene {
    scene.planned(|plan| {
        plan.workspace =
            Some(WorkspaceSpec { storage: "1Gi".to_owned(), storage_class_name: None, access_modes: None });
    })
}

/// The Job of the scene's launch.
fn job_of(scene: &Scene) -> Value {
    build_job(&scene.relocation, scene.status(), &scene.plan()).expect("a Job")
}

fn pod_of(job: &Value) -> &Value {
    &job["spec"]["template"]["spec"]
}

fn environment(container: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let variables = container["env"].as_array().expect("an environment");
    variables.iter().map(|variable| (text(&variable["name"]), text(&variable["value"]))).collect()
}

fn with_parameter(scene: Scene, value: &str) -> Scene {
    let declared = json!([{ "name": "note", "default": "" }]);
    let scene = scene.planned(|plan| plan.parameters = serde_json::from_value(declared).expect("a declaration"));
    scene.wanting(|spec| {
        spec.parameters.insert("note".to_owned(), value.to_owned());
    })
}

#[test]
#[expect(clippy::too_many_lines, reason = "the Job as it is sent, in one piece")]
fn a_job_as_a_whole() {
    let scene = with_workspace(with_template(
        Step::Importing,
        json!({
            "metadata": { "labels": { "team": "storage" } },
            "spec": { "containers": [{ "name": "main", "image": "porter", "env": [{ "name": "TARGET", "value": "$(RELOCATION_UUID)" }] }] }
        }),
    ));
    let scene = scene.at(Step::Importing);
    let job = serde_json::to_string_pretty(&job_of(&scene)).unwrap();
    expect![[r#"
        {
          "apiVersion": "batch/v1",
          "kind": "Job",
          "metadata": {
            "name": "acme-ddc82258",
            "labels": {
              "app.kubernetes.io/managed-by": "relocation-operator",
              "relocation.dev/attempt": "1",
              "relocation.dev/launch": "1772366400",
              "relocation.dev/mutex": "6fb2a032cfe7ae79e2453af05b174022",
              "relocation.dev/name": "acme",
              "relocation.dev/step": "importing",
              "relocation.dev/task": "importing",
              "relocation.dev/uuid": "3f0c0000-0000-4000-8000-000000000001"
            },
            "ownerReferences": [
              {
                "apiVersion": "relocation.dev/v1alpha1",
                "controller": true,
                "kind": "Relocation",
                "name": "acme",
                "uid": "3f0c0000-0000-4000-8000-000000000001"
              }
            ]
          },
          "spec": {
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "activeDeadlineSeconds": 3600,
            "template": {
              "metadata": {
                "labels": {
                  "team": "storage",
                  "app.kubernetes.io/managed-by": "relocation-operator",
                  "relocation.dev/attempt": "1",
                  "relocation.dev/launch": "1772366400",
                  "relocation.dev/mutex": "6fb2a032cfe7ae79e2453af05b174022",
                  "relocation.dev/name": "acme",
                  "relocation.dev/step": "importing",
                  "relocation.dev/task": "importing",
                  "relocation.dev/uuid": "3f0c0000-0000-4000-8000-000000000001"
                }
              },
              "spec": {
                "containers": [
                  {
                    "name": "main",
                    "image": "porter",
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    "env": [
                      {
                        "name": "RELOCATION_NAME",
                        "value": "acme"
                      },
                      {
                        "name": "RELOCATION_NAMESPACE",
                        "value": "moves"
                      },
                      {
                        "name": "RELOCATION_UUID",
                        "value": "3f0c0000-0000-4000-8000-000000000001"
                      },
                      {
                        "name": "RELOCATION_ORIGIN",
                        "value": "3f0c0000-0000-4000-8000-000000000001"
                      },
                      {
                        "name": "RELOCATION_STEP",
                        "value": "IMPORTING"
                      },
                      {
                        "name": "RELOCATION_TASK",
                        "value": "importing"
                      },
                      {
                        "name": "RELOCATION_ATTEMPT",
                        "value": "1"
                      },
                      {
                        "name": "RELOCATION_FENCING_TOKEN",
                        "value": "1772366400"
                      },
                      {
                        "name": "RELOCATION_OWNER",
                        "value": "acme"
                      },
                      {
                        "name": "RELOCATION_PROVENANCE",
                        "value": "SELF_HOSTED"
                      },
                      {
                        "name": "RELOCATION_ITEMS",
                        "value": "[]"
                      },
                      {
                        "name": "RELOCATION_WORKSPACE",
                        "value": "/relocation"
                      },
                      {
                        "name": "TARGET",
                        "value": "$(RELOCATION_UUID)"
                      }
                    ],
                    "volumeMounts": [
                      {
                        "name": "relocation-workspace",
                        "mountPath": "/relocation"
                      }
                    ]
                  }
                ],
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "volumes": [
                  {
                    "name": "relocation-workspace",
                    "persistentVolumeClaim": {
                      "claimName": "acme-a3c88e4b"
                    }
                  }
                ]
              }
            },
            "podFailurePolicy": {
              "rules": [
                {
                  "action": "FailJob",
                  "onPodConditions": [
                    {
                      "type": "DisruptionTarget",
                      "status": "True"
                    }
                  ]
                },
                {
                  "action": "FailJob",
                  "onExitCodes": {
                    "operator": "In",
                    "values": [
                      65
                    ]
                  }
                },
                {
                  "action": "FailJob",
                  "onExitCodes": {
                    "operator": "NotIn",
                    "values": [
                      0
                    ]
                  }
                }
              ]
            }
          }
        }"#]]
    .assert_eq(&job);
}

#[test]
fn the_contract_stands_before_the_templates_own_variables_in_every_container() {
    let containers = json!([{ "name": "main", "env": [{ "name": "OWN", "value": "1" }] }, { "name": "proxy" }]);
    let scene = with_template(
        Step::Importing,
        json!({ "spec": { "initContainers": [{ "name": "wait", "env": null }], "containers": containers } }),
    );
    let job = job_of(&with_parameter(scene, "n").at(Step::Importing));
    let pod = pod_of(&job);
    for container in [&pod["initContainers"][0], &pod["containers"][0], &pod["containers"][1]] {
        let names: Vec<_> = environment(container).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names[..13].iter().filter(|name| name.starts_with("RELOCATION_")).count(), 12);
        assert_eq!(names[12], "note");
        assert_eq!(container["terminationMessagePolicy"], "FallbackToLogsOnError");
    }
    assert_eq!(environment(&pod["containers"][0]).last().unwrap(), &("OWN".to_owned(), "1".to_owned()));
}

#[test]
fn a_launch_never_has_two_pods() {
    let scene = with_template(
        Step::Importing,
        json!({ "spec": { "restartPolicy": "OnFailure", "containers": [{ "name": "main" }] } }),
    );
    let job = job_of(&scene.at(Step::Importing));
    assert_eq!((&job["spec"]["backoffLimit"], &job["spec"]["podReplacementPolicy"]), (&json!(0), &json!("Failed")));
    assert_eq!(pod_of(&job)["restartPolicy"], "Never");
    assert_eq!(job["spec"]["activeDeadlineSeconds"], 3600);
}

#[test]
fn the_failure_policy_tells_disruptions_first_then_fatal_codes_then_every_other() {
    let policy = |codes: Vec<i32>| {
        let scene = a_relocation().planned(|plan| plan.steps[3].tasks[0].fatal_exit_codes = codes);
        job_of(&scene.at(Step::Importing))["spec"]["podFailurePolicy"]["rules"].clone()
    };
    let disruption =
        json!({ "action": "FailJob", "onPodConditions": [{ "type": "DisruptionTarget", "status": "True" }] });
    let other = json!({ "action": "FailJob", "onExitCodes": { "operator": "NotIn", "values": [0] } });
    let fatal = json!({ "action": "FailJob", "onExitCodes": { "operator": "In", "values": [3, 65] } });
    assert_eq!(policy(vec![65, 3]), json!([disruption, fatal, other]));
    assert_eq!(policy(vec![]), json!([disruption, other]));
}

#[test]
fn the_pod_carries_the_labels_of_the_job_whatever_the_template_says_about_labels() {
    for labels in [json!(null), json!({ "relocation.dev/mutex": "forged" }), json!("x"), json!([])] {
        let value = json!({ "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "main" }] } });
        let job = job_of(&with_template(Step::Importing, value).at(Step::Importing));
        let wanted = job["metadata"]["labels"].as_object().unwrap();
        assert_eq!(wanted.len(), 8);
        for (key, value) in wanted {
            assert_eq!(&job["spec"]["template"]["metadata"]["labels"][key], value, "{key}");
        }
    }
}

#[test]
fn a_template_without_metadata_or_with_nulls_still_makes_a_job() {
    for value in [
        json!({ "metadata": null, "spec": { "containers": [{ "name": "main" }], "volumes": null, "initContainers": null } }),
        json!({ "spec": { "containers": [{ "name": "main", "volumeMounts": null, "env": null }] } }),
    ] {
        let job = job_of(&with_workspace(with_template(Step::Importing, value)).at(Step::Importing));
        assert!(job["spec"]["template"]["metadata"]["labels"].is_object());
        assert_eq!(pod_of(&job)["volumes"].as_array().map(Vec::len), Some(1));
        assert_eq!(pod_of(&job)["containers"][0]["volumeMounts"].as_array().map(Vec::len), Some(1));
    }
}

#[test]
fn a_pod_gets_a_token_of_the_api_only_if_its_template_asks_for_one() {
    let mounts = |value: Value| {
        let job = job_of(&with_template(Step::Importing, value).at(Step::Importing));
        pod_of(&job)["automountServiceAccountToken"].clone()
    };
    let containers = json!([{ "name": "main" }]);
    assert_eq!(mounts(json!({ "spec": { "containers": containers } })), false);
    assert_eq!(mounts(json!({ "spec": { "containers": containers, "automountServiceAccountToken": null } })), false);
    assert_eq!(mounts(json!({ "spec": { "containers": containers, "automountServiceAccountToken": true } })), true);
}

#[test]
fn the_workspace_is_mounted_in_every_container_beside_the_templates_own_volumes() {
    let value = json!({ "spec": {
        "volumes": [{ "name": "source", "emptyDir": {} }],
        "initContainers": [{ "name": "wait" }],
        "containers": [{ "name": "main", "volumeMounts": [{ "name": "source", "mountPath": "/source" }] }],
    } });
    let scene = with_workspace(with_template(Step::Importing, value)).at(Step::Importing);
    let job = job_of(&scene);
    let claim = build_workspace(&scene.relocation, &scene.plan()).unwrap();
    let pod = pod_of(&job);
    assert_eq!(pod["volumes"][1]["persistentVolumeClaim"]["claimName"], claim["metadata"]["name"]);
    assert_eq!(pod["containers"][0]["volumeMounts"][1]["mountPath"], "/relocation");
    assert_eq!(pod["initContainers"][0]["volumeMounts"][0]["mountPath"], "/relocation");
    let plain = job_of(&a_relocation().at(Step::Importing));
    assert_eq!(pod_of(&plain)["volumes"], Value::Null);
    assert!(build_workspace(&scene.relocation, &a_relocation().plan()).is_none());
}

#[test]
fn the_workspace_is_owned_by_the_relocation_and_does_not_hold_it() {
    let scene = with_workspace(a_relocation()).at(Step::Importing);
    let claim = build_workspace(&scene.relocation, &scene.plan()).unwrap();
    assert_eq!(claim["spec"]["accessModes"], json!(["ReadWriteOnce"]));
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "1Gi");
    for owned in [&claim, &job_of(&scene)] {
        let owner = &owned["metadata"]["ownerReferences"][0];
        assert_eq!((&owner["uid"], &owner["controller"]), (&json!(super::fixtures::UID), &json!(true)));
        assert_eq!(owner["blockOwnerDeletion"], Value::Null);
    }
}

#[test]
fn nothing_is_built_without_a_recorded_launch_or_for_an_unknown_task() {
    let scene = a_relocation().before(Step::Importing);
    assert!(build_job(&scene.relocation, scene.status(), &scene.plan()).is_none());
    let scene = a_relocation().at(Step::Importing).having(|status| status.task = Some("unknown".to_owned()));
    assert!(build_job(&scene.relocation, scene.status(), &scene.plan()).is_none());
}

#[test]
fn the_job_of_on_end_is_told_the_result_and_is_not_part_of_the_mutex() {
    let scene = a_relocation().with_on_end().at(Step::Importing).failed_with(65).passed();
    let job = build_end_job(&scene.relocation, scene.status(), &scene.plan()).unwrap();
    let variables = environment(&pod_of(&job)["containers"][0]);
    let value = |wanted: &str| variables.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    assert_eq!(value("RELOCATION_RESULT"), Some("FAILURE"));
    assert_eq!(value("RELOCATION_REASON"), Some("FatalExitCode"));
    assert_eq!(value("RELOCATION_FAILURE_ID"), scene.status().failure.as_ref().map(|failure| failure.id.as_str()));
    for labels in [&job["metadata"]["labels"], &job["spec"]["template"]["metadata"]["labels"]] {
        assert_eq!(labels["relocation.dev/mutex"], Value::Null);
        assert_eq!(labels["relocation.dev/task"], "on-end");
    }
    let done = a_relocation().with_on_end().at(Step::Notifying).succeeded().passed();
    let job = build_end_job(&done.relocation, done.status(), &done.plan()).unwrap();
    assert!(
        environment(&pod_of(&job)["containers"][0]).contains(&("RELOCATION_REASON".to_owned(), "Succeeded".to_owned()))
    );
}

#[test]
fn a_plan_is_judged_by_a_job_of_the_same_shape() {
    let scene = with_workspace(a_relocation());
    let plan = scene.plan();
    let task = plan.task(Step::Importing, "importing").unwrap();
    let sample = build_sample_job("files", &task.template, Some(task), true);
    let real = job_of(&scene.at(Step::Importing));
    let keys = |job: &Value| job["spec"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&sample), keys(&real));
    let on_end = OnEnd { template: PodTemplate::default(), timeout_seconds: 1 };
    assert!(build_sample_job("files", &on_end.template, None, false)["spec"]["podFailurePolicy"].is_null());
}

/// What the kubelet makes of a value: its `Expand` of the environment.
fn expanded(value: &str, variables: &[(String, String)]) -> String {
    let mut text = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        rest = match after.chars().next() {
            None => {
                text.push('$');
                ""
            }
            Some('$') => {
                text.push('$');
                &after[1..]
            }
            Some('(') => {
                if let Some((name, behind)) = after.split_once(')') {
                    let name = &name[1..];
                    let known = variables.iter().rev().find(|(known, _)| known == name);
                    text.push_str(&known.map_or_else(|| format!("$({name})"), |(_, value)| value.clone()));
                    behind
                } else {
                    text.push_str("$(");
                    &after[1..]
                }
            }
            Some(first) => {
                text.push('$');
                text.push(first);
                &after[first.len_utf8()..]
            }
        };
    }
    text.push_str(rest);
    text
}

/// The environment of the main container as its process sees it.
fn seen_by_the_process(scene: &Scene) -> Vec<(String, String)> {
    let job = job_of(scene);
    let mut seen: Vec<(String, String)> = Vec::new();
    for (name, value) in environment(&pod_of(&job)["containers"][0]) {
        let value = expanded(&value, &seen);
        seen.push((name, value));
    }
    seen
}

fn note_as_seen(value: &str) -> String {
    let scene = with_parameter(a_relocation(), value).at(Step::Importing);
    seen_by_the_process(&scene).into_iter().find(|(name, _)| name == "note").expect("the parameter").1
}

#[test]
fn hostile_parameters_arrive_as_they_were_written() {
    for value in [
        "$(RELOCATION_UUID)",
        "$$(RELOCATION_UUID)",
        "$$$(RELOCATION_UUID)",
        "$$",
        "a$$b",
        "$",
        "$(",
        "cost: 5$",
        "é$(",
        "\n\0",
    ] {
        assert_eq!(note_as_seen(value), value);
    }
}

proptest! {
    #[test]
    fn any_parameter_arrives_as_it_was_written(value in "[$()A-Zé\n ]{0,12}|\\PC{0,20}") {
        prop_assert_eq!(note_as_seen(&value), value);
    }

    #[test]
    fn any_owner_reaches_the_task_as_it_was_written(owner in "[$()A-Z]{1,12}") {
        let scene = a_relocation().wanting(|spec| spec.owner.clone_from(&owner)).at(Step::Importing);
        let seen = seen_by_the_process(&scene);
        prop_assert!(seen.contains(&("RELOCATION_OWNER".to_owned(), owner)));
    }
}

#[test]
fn a_template_may_still_use_the_contract_in_its_own_variables() {
    let value = json!({ "spec": { "containers": [{ "name": "main", "env": [{ "name": "PREFIX", "value": "s3/$(RELOCATION_UUID)" }] }] } });
    let seen = seen_by_the_process(&with_template(Step::Importing, value).at(Step::Importing));
    assert!(seen.contains(&("PREFIX".to_owned(), format!("s3/{}", super::fixtures::UID))));
}
