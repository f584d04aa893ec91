//! Whether a tool keeps an object as it stands in Git, and may undo what people write.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The labels and annotations by which the tools know their own.
const TRACKS: [(&str, &str); 4] = [
    ("argocd.argoproj.io/tracking-id", "Argo CD"),
    ("argocd.argoproj.io/instance", "Argo CD"),
    ("kustomize.toolkit.fluxcd.io/name", "Flux"),
    ("helm.toolkit.fluxcd.io/name", "Flux"),
];

/// The tool that keeps this object, with the name under which it does.
pub(super) fn tracker(metadata: &ObjectMeta) -> Option<String> {
    let (labels, annotations) = (metadata.labels.as_ref(), metadata.annotations.as_ref());
    TRACKS.into_iter().find_map(|(key, tool)| {
        let value = [labels, annotations].into_iter().flatten().find_map(|marks| marks.get(key))?;
        let by = value.split(':').next().unwrap_or_default();
        Some(format!("{tool} ({by})"))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_tool_is_known_by_its_mark() {
        let tool = |metadata| tracker(&serde_json::from_value(metadata).unwrap());
        assert_eq!(tool(json!({ "name": "acme", "labels": { "app": "x" } })), None);
        assert_eq!(
            tool(json!({ "labels": { "kustomize.toolkit.fluxcd.io/name": "moves" } })),
            Some("Flux (moves)".to_owned())
        );
        let id = "moves:relocation.dev/Relocation:default/acme";
        assert_eq!(
            tool(json!({ "annotations": { "argocd.argoproj.io/tracking-id": id } })),
            Some("Argo CD (moves)".to_owned())
        );
    }
}
