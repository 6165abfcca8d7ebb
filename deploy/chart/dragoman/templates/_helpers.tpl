{{- define "dragoman.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "dragoman.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "dragoman.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "dragoman.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Labels that never change, for selectors. Takes (dict "root" $ "component" "scorer" "role" "api"). */}}
{{- define "dragoman.selector" -}}
app.kubernetes.io/name: {{ include "dragoman.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .role }}
dragoman/role: {{ . }}
{{- end }}
{{- end -}}

{{- define "dragoman.labels" -}}
{{ include "dragoman.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The services with the defaults filled in, as YAML: a map of name to settings. */}}
{{- define "dragoman.services" -}}
{{- $merged := dict -}}
{{- range $name, $service := .Values.services -}}
{{- $_ := set $merged $name (mergeOverwrite (deepCopy $.Values.defaults) (deepCopy $service)) -}}
{{- end -}}
{{- toYaml $merged -}}
{{- end -}}

{{- define "dragoman.image" -}}
{{- $image := .root.Values.image -}}
{{- with $image.registry }}{{ . }}/{{ end -}}
{{- $image.prefix }}{{ .component }}:{{ $image.tag | default .root.Chart.AppVersion -}}
{{- end -}}

{{- define "dragoman.natsUrl" -}}
{{- if .Values.nats.enabled -}}nats://{{ include "dragoman.fullname" . }}-nats:4222{{- else -}}{{ .Values.nats.url }}{{- end -}}
{{- end -}}

{{- define "dragoman.natsMonitoring" -}}
{{- if .Values.nats.monitoringEndpoint -}}
{{ .Values.nats.monitoringEndpoint }}
{{- else -}}
{{ include "dragoman.fullname" . }}-nats.{{ .Release.Namespace }}.svc:8222
{{- end -}}
{{- end -}}

{{- define "dragoman.storeEndpoint" -}}
{{- if .Values.store.enabled -}}http://{{ include "dragoman.fullname" . }}-store:8333{{- else -}}{{ .Values.store.endpoint }}{{- end -}}
{{- end -}}

{{- define "dragoman.llmUrl" -}}
{{- if .Values.llm.url -}}
{{ .Values.llm.url }}
{{- else if .Values.vllm.enabled -}}
http://{{ include "dragoman.fullname" . }}-vllm:8000
{{- end -}}
{{- end -}}

{{- define "dragoman.natsSecret" -}}
{{ .Values.nats.auth.existingSecret | default (printf "%s-nats" (include "dragoman.fullname" .)) }}
{{- end -}}

{{- define "dragoman.storeSecret" -}}
{{ .Values.store.auth.existingSecret | default (printf "%s-store" (include "dragoman.fullname" .)) }}
{{- end -}}

{{/* The Secret with the one token; empty where only a file of principals says who may call. */}}
{{- define "dragoman.tokenSecret" -}}
{{- if .Values.auth.existingSecret -}}
{{ .Values.auth.existingSecret }}
{{- else if not .Values.auth.principalsSecret -}}
{{ printf "%s-token" (include "dragoman.fullname" .) }}
{{- end -}}
{{- end -}}

{{- define "dragoman.secretEnv" -}}
- name: {{ .name }}
  valueFrom: {secretKeyRef: {name: {{ .secret }}, key: {{ .key }}}}
{{- end -}}

{{/* Environment of an API or worker. Takes root, component, service, role. */}}
{{- define "dragoman.env" -}}
{{- $root := .root -}}
{{- $prefix := .component | upper | replace "-" "_" -}}
- {name: DRAGOMAN_NATS_URL, value: {{ include "dragoman.natsUrl" $root | quote }}}
- {name: DRAGOMAN_NATS_REPLICAS, value: {{ $root.Values.nats.replicas | quote }}}
- {name: DRAGOMAN_NAMESPACE, value: {{ $root.Values.namespace | quote }}}
{{ include "dragoman.secretEnv" (dict "name" "DRAGOMAN_NATS_USER" "secret" (include "dragoman.natsSecret" $root) "key" "user") }}
{{ include "dragoman.secretEnv" (dict "name" "DRAGOMAN_NATS_PASSWORD" "secret" (include "dragoman.natsSecret" $root) "key" "password") }}
- {name: DRAGOMAN_S3_ENDPOINT, value: {{ include "dragoman.storeEndpoint" $root | quote }}}
- {name: DRAGOMAN_S3_BUCKET, value: {{ $root.Values.store.bucket | quote }}}
- {name: DRAGOMAN_S3_REGION, value: {{ $root.Values.store.region | quote }}}
{{ include "dragoman.secretEnv" (dict "name" "DRAGOMAN_S3_ACCESS_KEY" "secret" (include "dragoman.storeSecret" $root) "key" "access-key") }}
{{ include "dragoman.secretEnv" (dict "name" "DRAGOMAN_S3_SECRET_KEY" "secret" (include "dragoman.storeSecret" $root) "key" "secret-key") }}
- {name: DRAGOMAN_LOG_LEVEL, value: {{ $root.Values.logLevel | quote }}}
- {name: DRAGOMAN_SOURCE_ROOTS, value: {{ join ":" $root.Values.sources.roots | quote }}}
- {name: DRAGOMAN_HUB_ALLOW, value: {{ join "," $root.Values.sources.hub | quote }}}
{{- with $root.Values.tracing.endpoint }}
- {name: DRAGOMAN_TRACES, value: "1"}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }}}
{{- end }}
- {name: DRAGOMAN_HOME, value: /cache/dragoman}
- {name: HF_HOME, value: /cache/huggingface}
- {name: {{ $prefix }}_METRICS_ADDRESS, value: "0.0.0.0:9090"}
{{- if eq .role "api" }}
- {name: {{ $prefix }}_GRPC_ADDRESS, value: "0.0.0.0:50051"}
{{- with include "dragoman.tokenSecret" $root }}
{{ include "dragoman.secretEnv" (dict "name" "DRAGOMAN_TOKEN" "secret" . "key" "token") }}
{{- end }}
{{- if $root.Values.auth.principalsSecret }}
- {name: DRAGOMAN_PRINCIPALS, value: /principals/principals.yaml}
{{- end }}
{{- if $root.Values.tls.existingSecret }}
- {name: DRAGOMAN_TLS_CERTIFICATE, value: /tls/tls.crt}
- {name: DRAGOMAN_TLS_KEY, value: /tls/tls.key}
{{- else }}
- {name: DRAGOMAN_PLAINTEXT, value: "1"}
{{- end }}
{{- if $root.Values.tls.clientCaSecret }}
- {name: DRAGOMAN_TLS_CLIENT_CA, value: /client-ca/ca.crt}
{{- end }}
{{- else }}
- {name: {{ $prefix }}_SLOTS, value: {{ .service.worker.slots | quote }}}
- {name: DRAGOMAN_DRAIN_S, value: {{ .service.worker.drainSeconds | quote }}}
{{- end }}
{{- if .service.llm }}
- {name: DRAGOMAN_LLM_URL, value: {{ include "dragoman.llmUrl" $root | quote }}}
- {name: DRAGOMAN_LLM_MODEL, value: {{ $root.Values.llm.model | quote }}}
{{- with $root.Values.llm.auth.existingSecret }}
{{ include "dragoman.secretEnv" (dict "name" "DRAGOMAN_LLM_API_KEY" "secret" . "key" "api-key") }}
{{- end }}
{{- end }}
{{- if and .service.embed $root.Values.embed.url }}
- {name: DRAGOMAN_EMBED_URL, value: {{ $root.Values.embed.url | quote }}}
- {name: DRAGOMAN_EMBED_MODEL, value: {{ $root.Values.embed.model | quote }}}
{{- with $root.Values.embed.auth.existingSecret }}
{{ include "dragoman.secretEnv" (dict "name" "DRAGOMAN_EMBED_API_KEY" "secret" . "key" "api-key") }}
{{- end }}
{{- end }}
{{- range $name, $value := .service.env }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end -}}

{{- define "dragoman.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* What every pod of a service shares. Takes root, component, service, role. */}}
{{- define "dragoman.pod" -}}
{{- $root := .root -}}
serviceAccountName: {{ include "dragoman.fullname" $root }}
automountServiceAccountToken: false
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .service.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with .service.nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .service.tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .service.affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- if .service.topologySpread }}
topologySpreadConstraints:
  {{- range $key := list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{ include "dragoman.selector" (dict "root" $root "component" $.component "role" $.role) | nindent 8 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* Probes of an API or worker: loop, NATS, store, model; see docs/operations.md, "Endpoints". */}}
{{- define "dragoman.probes" -}}
startupProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 10
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /readyz, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 10
livenessProbe:
  httpGet: {path: /livez, port: metrics}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 3
{{- end -}}

{{/* The worker's pod template. Takes root, component, service, once (true: ends when the queue is empty). */}}
{{- define "dragoman.workerPod" -}}
{{- $worker := .service.worker -}}
metadata:
  labels: {{ include "dragoman.selector" (dict "root" .root "component" .component "role" "worker") | nindent 4 }}
  {{- with .service.podAnnotations }}
  annotations: {{ toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- include "dragoman.pod" . | nindent 2 }}
  {{- with $worker.runtimeClassName }}
  runtimeClassName: {{ . }}
  {{- end }}
  {{- if .once }}
  restartPolicy: Never
  {{- end }}
  terminationGracePeriodSeconds: {{ add $worker.drainSeconds 30 }}
  containers:
    - name: worker
      image: {{ include "dragoman.image" . }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args: {{ ternary (list "work" "--once") (list "work") (default false .once) | toJson }}
      env: {{ include "dragoman.env" . | nindent 8 }}
      ports:
        - {name: metrics, containerPort: 9090}
      {{- include "dragoman.probes" . | nindent 6 }}
      securityContext: {{ include "dragoman.containerSecurity" . | nindent 8 }}
      {{- $resources := deepCopy $worker.resources }}
      {{- if $worker.gpus }}
      {{- $_ := set $resources "limits" (set (default (dict) $resources.limits) $worker.gpuResource $worker.gpus) }}
      {{- end }}
      resources: {{ toYaml $resources | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        - {name: cache, mountPath: /cache}
        - {name: shm, mountPath: /dev/shm}
        {{- with .service.volumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - {name: tmp, emptyDir: {sizeLimit: {{ $worker.cache }}}}
    - {name: cache, emptyDir: {sizeLimit: {{ $worker.cache }}}}
    - {name: shm, emptyDir: {medium: Memory, sizeLimit: {{ $worker.shm }}}}
    {{- with .service.volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* Refuses values that cannot work, before anything is made. */}}
{{- define "dragoman.check" -}}
{{- $values := .Values -}}
{{- if and (not $values.insecure) (not $values.tls.existingSecret) -}}
{{- fail "tls.existingSecret is not set: whoever is on the way could read tokens and results. Set it, or say insecure: true" -}}
{{- end -}}
{{- if and (not $values.nats.enabled) (not $values.nats.url) -}}
{{- fail "nats.enabled is false and nats.url is empty: name a NATS server" -}}
{{- end -}}
{{- if and (not $values.nats.enabled) (not $values.nats.auth.existingSecret) -}}
{{- fail "nats.enabled is false: nats.auth.existingSecret must name a Secret with the keys user and password" -}}
{{- end -}}
{{- if and (not $values.store.enabled) (or (not $values.store.endpoint) (not $values.store.auth.existingSecret)) -}}
{{- fail "store.enabled is false: set store.endpoint, and store.auth.existingSecret with the keys access-key and secret-key" -}}
{{- end -}}
{{- if and $values.keda.enabled (not $values.nats.enabled) (not $values.nats.monitoringEndpoint) -}}
{{- fail "keda.enabled with an external NATS needs nats.monitoringEndpoint (host:8222)" -}}
{{- end -}}
{{- range $name, $service := include "dragoman.services" . | fromYaml -}}
{{- if and (eq $service.worker.mode "job") (not $values.keda.enabled) -}}
{{- fail (printf "services.%s.worker.mode is job, which needs keda.enabled: true" $name) -}}
{{- end -}}
{{- if and $service.llm (not (include "dragoman.llmUrl" $)) -}}
{{- fail (printf "%s needs a language model: set llm.url, or vllm.enabled: true" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
