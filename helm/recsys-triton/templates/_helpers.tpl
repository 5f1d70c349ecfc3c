{{- define "triton.selector" -}}
app.kubernetes.io/part-of: recsys
app.kubernetes.io/component: triton
{{- end }}
{{- define "triton.labels" -}}
{{ include "triton.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* An upgrade replaces the pods when settings or Secret have changed since the last one: both are made outside of this
chart, so they are read from the cluster, or given by the chart recsys, which makes them in the same upgrade. Of the Secret
only the version is shown, no digest that could be guessed. */}}
{{- define "triton.annotations" -}}
checksum/settings: {{ .Values.global.settings | default (lookup "v1" "ConfigMap" .Release.Namespace "recsys-settings").data | toJson | sha256sum | quote }}
recsys/secret-version: {{ dig "metadata" "resourceVersion" "" (lookup "v1" "Secret" .Release.Namespace "recsys-secrets") | quote }}
{{- end }}
