{{- define "triton.selector" -}}
app.kubernetes.io/part-of: recsys
app.kubernetes.io/component: triton
{{- end }}
{{- define "triton.labels" -}}
{{ include "triton.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}
