{{- define "relocation-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{- define "relocation-operator.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "relocation-operator.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "relocation-operator.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{- define "relocation-operator.selector" -}}
app.kubernetes.io/name: {{ include "relocation-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "relocation-operator.labels" -}}
app.kubernetes.io/name: {{ include "relocation-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "relocation-operator.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "relocation-operator.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name must name an existing ServiceAccount when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end }}

{{- define "relocation-operator.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end }}

{{/* The rights that the operator needs where it watches. A test runs with these alone, and fails on any that nothing uses. */}}
{{- define "relocation-operator.rules" -}}
# The intent is people's: the operator reads it and writes nothing but the status.
- apiGroups: [relocation.dev]
  resources: [relocations]
  verbs: [get, list, watch]
- apiGroups: [relocation.dev]
  resources: [relocationplans]
  verbs: [list, watch]
- apiGroups: [relocation.dev]
  resources: [relocations/status, relocationplans/status]
  verbs: [patch]
# What the tasks report.
- apiGroups: [relocation.dev]
  resources: [artifactindices]
  verbs: [get, create, patch]
# One Job per launch: created once, never written again.
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete]
# Pods are read for results and for what still runs. Created is only the dry run that judges a plan's templates.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, create]
# The workspace of a relocation; listed to find what a lost status has left, deleted by cleanupSecondsAfterFinished.
- apiGroups: [""]
  resources: [persistentvolumeclaims]
  verbs: [get, list, create, delete]
# The plan as it was when a relocation started or was recovered; listed to find what a lost status has left.
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, create]
# The lock of a mutex: created and deleted, never updated.
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [get, create, delete]
# Why a Job has no pod stands in an event of the Job controller.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}

{{/* Values that are each fine and do not fit together. */}}
{{- define "relocation-operator.check" -}}
{{- if and (not .Values.leaderElection.enabled) (gt (int .Values.replicaCount) 1) -}}
{{- fail "replicaCount is greater than 1 and leaderElection.enabled is false: set leaderElection.enabled=true, or replicaCount=1" -}}
{{- end -}}
{{- with .Values.leaderElection -}}
{{- if or (le (int .leaseDurationSeconds) (int .renewDeadlineSeconds)) (le (int .renewDeadlineSeconds) (int .retryPeriodSeconds)) -}}
{{- fail (printf "leaderElection: leaseDurationSeconds (%d) must be greater than renewDeadlineSeconds (%d), and that greater than retryPeriodSeconds (%d)" (int .leaseDurationSeconds) (int .renewDeadlineSeconds) (int .retryPeriodSeconds)) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Whether a kind is to be left as it is, because a newer chart has installed it: "true" or empty. Takes the root and the name of the kind. */}}
{{- define "relocation-operator.isOutdated" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $installed := lookup "apiextensions.k8s.io/v1" "CustomResourceDefinition" "" $name -}}
{{- $version := dig "metadata" "annotations" "relocation.dev/chart-version" "" ($installed | default dict) -}}
{{- if $version -}}
{{- if gt ((semver $version).Compare (semver $root.Chart.Version)) 0 -}}
{{- if not $root.Values.crds.keep -}}
{{- fail (printf "the kind %s was installed by the newer chart %s, and crds.keep is false: leaving it out of this release would delete it with every object; set crds.keep=true" $name $version) -}}
{{- end -}}
true
{{- end -}}
{{- end -}}
{{- end }}
