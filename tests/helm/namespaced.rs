//! An operator for one namespace, installed by somebody who has no rights anywhere else.

use serde_json::{Value, json};

use kube::api::{Api, PostParams};

use crate::release::{NAME, Release};
use crate::support::run;

#[tokio::test]
async fn the_admin_of_a_namespace_installs_an_operator_for_it_alone() {
    run(async |scenario| {
        // What the administrator of the cluster shares: kinds, roles, policy, and the rights to install this.
        let shared = Release::prepare(&scenario.client).await;
        shared.install(&["operator.enabled=false", "rbac.namespacedInstallers=true"]);

        let user = format!("admin-of-{}", scenario.namespace);
        let own = Release::beside(&scenario.client).await.by_user(&user);
        let bindings: Api<k8s_openapi::api::rbac::v1::RoleBinding> =
            Api::namespaced(scenario.client.clone(), &own.namespace);
        let binding = serde_json::from_value(json!({
            "metadata": { "name": "admin" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "admin" },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user }]
        }))
        .expect("a binding");
        bindings.create(&PostParams::default(), &binding).await.expect("a binding");

        // Aggregated rules are there a moment after the role that brings them.
        let allowed = async {
            while own.helm(&["list"]).is_err() || !can_install(&own, &user) {
                tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), allowed).await.expect("the rights in time");

        let said = own.try_install(&[]).expect_err("what is cluster-wide is not theirs");
        assert!(said.contains("forbidden") || said.contains("cannot"), "{said}");
        let notes = own.install(&["scope=Namespace"]);
        assert!(notes.contains("this namespace alone"), "{notes}");
        let said = own.helm(&["test", NAME, "--logs", "--timeout", "120s"]).expect("the chart's own test");
        assert!(said.trim_end().ends_with("SUCCESS"), "{said}");

        let manifest = own.helm(&["get", "manifest", NAME]).expect("the manifest");
        for document in manifest.split("\n---\n") {
            let object: Value = serde_saphyr::from_str(document).expect("YAML");
            assert_eq!(object["metadata"]["namespace"], own.namespace.as_str(), "{document}");
        }
        let operator = format!("--as=system:serviceaccount:{}:{NAME}", own.namespace);
        let elsewhere =
            own.try_kubectl(&["auth", "can-i", "list", "relocations.relocation.dev", "--all-namespaces", &operator]);
        assert!(elsewhere.is_err_and(|said| said.starts_with("no")), "the operator sees its own namespace alone");
        own.remove().await;
        shared.remove().await;
    })
    .await;
}

/// Whether the rights have arrived that the cluster's role admin does not have by itself.
fn can_install(release: &Release, user: &str) -> bool {
    let may = |verb: &str, what: &str| {
        let arguments = ["auth", "can-i", verb, what, &format!("--as={user}"), "--as-group=system:authenticated"];
        release.try_kubectl(&arguments).is_ok_and(|said| said.trim() == "yes")
    };
    may("patch", "relocations.relocation.dev/status") && may("create", "controllerrevisions.apps")
}
