{{- define "dagster.selector" -}}
app.kubernetes.io/part-of: recsys
app.kubernetes.io/component: {{ . }}
{{- end }}

{{- define "dagster.labels" -}}
{{ include "dagster.selector" .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end }}

{{/* An upgrade replaces the pods when the instance, the settings or a Secret have changed; see recsys-gateway. */}}
{{- define "dagster.annotations" -}}
checksum/instance: {{ include "dagster.instance" . | sha256sum | quote }}
checksum/settings: {{ .Values.global.settings | default (lookup "v1" "ConfigMap" .Release.Namespace "recsys-settings").data | toJson | sha256sum | quote }}
recsys/secret-version: {{ dig "metadata" "resourceVersion" "" (lookup "v1" "Secret" .Release.Namespace .Values.secret) | quote }}
recsys/database-secret-version: {{ dig "metadata" "resourceVersion" "" (lookup "v1" "Secret" .Release.Namespace .Values.postgresql.secret) | quote }}
{{- end }}

{{- define "dagster.image" -}}
"{{ .Values.image.repository }}:{{ required "image.tag: an immutable tag" .Values.image.tag }}"
{{- end }}

{{- define "dagster.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "dagster.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* What all pods of this chart have in common; `token` says whether one may call the Kubernetes API. */}}
{{- define "dagster.pod" -}}
serviceAccountName: {{ .account }}
automountServiceAccountToken: {{ .token }}
enableServiceLinks: false  # Kubernetes' own RECSYS_GATEWAY_PORT=tcp://… would be read as a setting
nodeSelector:
  recsys/compute: cpu
securityContext: {{- include "dagster.podSecurity" . | nindent 2 }}
{{- end }}

{{- define "dagster.container" -}}
image: {{ include "dagster.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext: {{- include "dagster.containerSecurity" . | nindent 2 }}
{{- end }}

{{- define "dagster.env" -}}
- {name: HOME, value: /tmp}
- {name: DAGSTER_HOME, value: /opt/dagster/dagster_home}
- name: DAGSTER_PG_PASSWORD
  valueFrom:
    secretKeyRef: {name: {{ .Values.postgresql.secret }}, key: postgresql-password}
{{- end }}

{{/* The files of the instance, and a folder for what the processes write. */}}
{{- define "dagster.mounts" -}}
- {name: instance, mountPath: /opt/dagster/dagster_home, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- end }}

{{- define "dagster.volumes" -}}
- name: instance
  configMap: {name: recsys-dagster-instance}
- name: tmp
  emptyDir: {sizeLimit: 2Gi}
{{- end }}

{{/* The volumes of the code server, and of run and step pods. */}}
{{- define "dagster.workVolumes" -}}
- name: shared
  persistentVolumeClaim: {claimName: {{ .Values.sharedClaim }}}
- name: models
  persistentVolumeClaim: {claimName: {{ .Values.modelsClaim }}}
- name: shm  # torch's loaders
  emptyDir: {medium: Memory, sizeLimit: 2Gi}
{{- end }}

{{- define "dagster.workMounts" -}}
- {name: shared, mountPath: /recsys}
# the kubelet makes a subPath that is absent: Python ignores a TMPDIR that does not exist
- {name: shared, mountPath: /recsys/tmp, subPath: tmp}
- {name: models, mountPath: /models}
- {name: shm, mountPath: /dev/shm}
{{- end }}

{{- define "dagster.storage" -}}
storage:
  postgres:
    postgres_db:
      hostname: {{ required "postgresql.host is empty" .Values.postgresql.host | quote }}
      port: {{ .Values.postgresql.port }}
      username: {{ .Values.postgresql.user | quote }}
      password: {env: DAGSTER_PG_PASSWORD}
      scheme: postgresql+psycopg2  # the default of SQLAlchemy 2.1 is psycopg 3, which dagster-postgres does not bring
      db_name: {{ .Values.postgresql.database | quote }}
      params: {sslmode: {{ .Values.postgresql.sslmode }}}
{{- end }}

{{/* dagster.yaml */}}
{{- define "dagster.instance" -}}
telemetry: {enabled: false}
nux: {enabled: false}
{{ include "dagster.storage" . }}
local_artifact_storage:  # written by nothing here; the default is DAGSTER_HOME, which is read-only
  module: dagster._core.storage.root
  class: LocalArtifactStorage
  config: {base_dir: /tmp}
compute_logs:
  module: dagster_aws.s3.compute_log_manager
  class: S3ComputeLogManager
  config:
    bucket: {{ required "computeLogs.bucket is empty" .Values.computeLogs.bucket | quote }}
    region: {{ required "computeLogs.region is empty" .Values.computeLogs.region | quote }}
    prefix: {{ .Values.computeLogs.prefix | quote }}
    local_dir: /tmp
run_launcher:
  module: dagster_k8s
  class: K8sRunLauncher
  config:
    load_incluster_config: true
    job_namespace: {{ .Release.Namespace }}
    service_account_name: recsys-platform
    instance_config_map: recsys-dagster-instance
    dagster_home: /opt/dagster/dagster_home
    postgres_password_secret: {{ .Values.postgresql.secret }}
    image_pull_policy: {{ .Values.image.pullPolicy }}
    fail_pod_on_run_failure: false
    env_config_maps: [recsys-settings]
    env_secrets: [{{ .Values.secret }}]
    # scratch on the shared volume: what a step stages there, its training pod can read
    env_vars: [HOME=/tmp, TMPDIR=/recsys/tmp]
    # network policies select steps by this label (promotion reaches Triton)
    labels: {recsys/role: step}
    volumes:
      {{- include "dagster.workVolumes" . | nindent 6 }}
      - name: tmp
        emptyDir: {}
    volume_mounts:
      {{- include "dagster.workMounts" . | nindent 6 }}
      - {name: tmp, mountPath: /tmp}
    security_context: {{- include "dagster.containerSecurity" . | nindent 6 }}
    # a run pod only orchestrates; an asset's own op tags (recsys_assets/orchestration/compute.py) override these for its
    # step pod
    resources: {{- toYaml .Values.runs.resources | nindent 6 }}
    run_k8s_config:
      pod_spec_config:
        nodeSelector: {recsys/compute: cpu}
        securityContext: {{- include "dagster.podSecurity" . | nindent 10 }}
        enableServiceLinks: false
        automountServiceAccountToken: true
      pod_template_spec_metadata:
        annotations: {karpenter.sh/do-not-disrupt: "true"}
      job_spec_config: {backoffLimit: 0, ttlSecondsAfterFinished: 86400}
run_coordinator:
  module: dagster._core.run_coordinator
  class: QueuedRunCoordinator
concurrency:
  runs:
    max_concurrent_runs: {{ .Values.runs.maxConcurrent }}
    # catalogue and days, refreshes, and fine-tunes one after the other, each in its lane
    # (recsys_assets/defs/automation/jobs.py)
    tag_concurrency_limits:
      - {key: recsys/lane, limit: 1, value: {applyLimitPerUniqueValue: true}}
  pools: {default_limit: 1, granularity: op}
run_monitoring:
  enabled: true
  start_timeout_seconds: {{ .Values.runs.startTimeoutSeconds }}
  cancel_timeout_seconds: 180
  # A run pod that was lost is not resumed: where its pod is deleted, as with its node, Kubernetes deletes its step pods too
  # (enable_owner_references in recsys_assets/orchestration/compute.py). The run fails, and run_retries starts it again at
  # its unfinished steps.
  max_resume_run_attempts: 0
  poll_interval_seconds: {{ .Values.runs.pollSeconds }}
  # Steps of a run whose pod was killed may still work. Their slots are freed after this time, and the run's next attempt
  # waits for them.
  free_slots_after_run_end_seconds: {{ .Values.runs.freeSlotsSeconds }}
run_retries: {enabled: true, max_retries: {{ .Values.runs.maxRetries }}}
sensors: {use_threads: true, num_workers: 4}
schedules: {use_threads: true, num_workers: 2}
retention:
  sensor: {purge_after_days: {skipped: 7, success: 30, failure: 30, started: 30}}
  schedule: {purge_after_days: {skipped: 7, success: 90, failure: 90, started: 90}}
{{- end }}
