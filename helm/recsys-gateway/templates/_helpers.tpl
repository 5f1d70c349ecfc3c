{{- define "gateway.selector" -}}
app.kubernetes.io/part-of: recsys
app.kubernetes.io/component: {{ . }}
{{- end }}

{{- define "gateway.labels" -}}
{{ include "gateway.selector" .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{/* An upgrade replaces the pods when settings or Secret have changed since the last one: both are made outside of this
chart, so they are read from the cluster, or given by the chart recsys, which makes them in the same upgrade. Of the Secret
only the version is shown, no digest that could be guessed. */}}
{{- define "gateway.annotations" -}}
checksum/settings: {{ .Values.global.settings | default (lookup "v1" "ConfigMap" .Release.Namespace "recsys-settings").data | toJson | sha256sum | quote }}
recsys/secret-version: {{ dig "metadata" "resourceVersion" "" (lookup "v1" "Secret" .Release.Namespace .Values.secret) | quote }}
{{- end }}

{{/* What the gateway's and the consumer's pods have in common. */}}
{{- define "gateway.pod" -}}
serviceAccountName: recsys-gateway
automountServiceAccountToken: false
enableServiceLinks: false  # Kubernetes' own RECSYS_GATEWAY_PORT=tcp://… would be read as a setting
terminationGracePeriodSeconds: 45
nodeSelector:
  recsys/compute: cpu
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
volumes:
  - name: shared
    persistentVolumeClaim: {claimName: {{ .Values.sharedClaim }}}
  - name: tmp
    emptyDir: {sizeLimit: 1Gi}
{{- end }}

{{- define "gateway.container" -}}
image: "{{ .Values.image.repository }}:{{ required "image.tag: an immutable tag" .Values.image.tag }}"
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
envFrom:
  - configMapRef: {name: recsys-settings}
{{- end }}

{{- define "gateway.secret" -}}
- name: {{ .name }}
  valueFrom:
    secretKeyRef: {name: {{ .root.Values.secret }}, key: {{ .name }}}
{{- end }}
