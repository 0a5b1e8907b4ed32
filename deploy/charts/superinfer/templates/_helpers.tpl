{{- /* Names, labels and references that several templates share. */ -}}

{{- define "superinfer.name" -}}
{{- .Values.fullnameOverride -}}
{{- end }}

{{- define "superinfer.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "superinfer.name" .) -}}
{{- end }}

{{- define "superinfer.subjects" -}}
- kind: ServiceAccount
  name: {{ include "superinfer.serviceAccountName" . }}
  namespace: {{ .Release.Namespace }}
{{- end }}

{{- define "superinfer.signingSecretName" -}}
{{- .Values.signingKey.existingSecret | default (printf "%s-signing" (include "superinfer.name" .)) -}}
{{- end }}

{{- /* These never change: a Deployment's selector is immutable. */ -}}
{{- define "superinfer.selectorLabels" -}}
app.kubernetes.io/name: superinfer-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "superinfer.labels" -}}
{{ include "superinfer.selectorLabels" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/part-of: superinfer
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* An image's reference; called with the image's values and the chart's appVersion. */ -}}
{{- define "superinfer.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default (index . 1)) -}}
{{- end -}}
{{- end }}

{{- define "superinfer.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "superinfer.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- /* Of the pod of `helm test`; never the operator's own, or its Service would select it. */ -}}
{{- define "superinfer.testLabels" -}}
app.kubernetes.io/name: superinfer-operator-test
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
