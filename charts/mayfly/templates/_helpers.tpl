{{- define "mayfly.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The labels that select the pods of one component: (list $ "server") or (list $ "log"). They can never change. */}}
{{- define "mayfly.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "mayfly.labels" -}}
{{- $root := index . 0 -}}
{{ include "mayfly.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "mayfly.image" -}}
{{- $image := .Values.server.image -}}
{{- $version := default .Chart.AppVersion $image.version -}}
{{- if $image.registry }}{{ $image.registry }}/{{ end -}}
{{- $image.repository -}}
{{- if hasPrefix "sha256:" $version }}@{{ else }}:{{ end -}}
{{- $version -}}
{{- end -}}

{{- define "mayfly.serviceAccountName" -}}
{{- $account := .Values.server.serviceAccount -}}
{{- if $account.create -}}{{ default (include "mayfly.fullname" .) $account.name }}{{- else -}}{{ default "default" $account.name }}{{- end -}}
{{- end -}}

{{- define "mayfly.configMap" -}}
{{- default (printf "%s-config" (include "mayfly.fullname" .)) .Values.config.existingConfigMap -}}
{{- end -}}

{{/* The Secret of the file CA: the given one, or the one made of server.keys. */}}
{{- define "mayfly.caSecret" -}}
{{- default (printf "%s-ca" (include "mayfly.fullname" .)) .Values.server.secret -}}
{{- end -}}

{{- define "mayfly.logSecret" -}}
{{- default (printf "%s-log-key" (include "mayfly.fullname" .)) .Values.log.keySecret -}}
{{- end -}}

{{/* The address that clients use; without one, that of the Service inside the cluster. */}}
{{- define "mayfly.publicUrl" -}}
{{- $port := ternary "" (printf ":%d" (int .Values.server.svcPort)) (eq (int .Values.server.svcPort) 80) -}}
{{- $inside := printf "%s://%s.%s.svc%s" (include "mayfly.scheme" . | lower) (include "mayfly.fullname" .) .Release.Namespace $port -}}
{{- default $inside .Values.publicUrl | trimSuffix "/" -}}
{{- end -}}

{{/* Where the log is read by the world. */}}
{{- define "mayfly.logPublicUrl" -}}
{{- default (include "mayfly.publicUrl" .) .Values.log.publicUrl | trimSuffix "/" -}}
{{- end -}}

{{/* The scheme that probes use. */}}
{{- define "mayfly.scheme" -}}
{{- if .Values.server.tlsSecret }}HTTPS{{ else }}HTTP{{ end -}}
{{- end -}}

{{/* The list for --ct-logs-config: our own log under the name it has in the cluster, or the external ones. */}}
{{- define "mayfly.ctLogs" -}}
{{- if eq .Values.mode "separate-log" -}}
required: 1
logs:
  - url: http://{{ include "mayfly.fullname" . }}-log:{{ .Values.log.svcPort }}/ctlog
    monitoring-url: {{ include "mayfly.logPublicUrl" . }}/ctlog
    public-key: /etc/mayfly/log-key/public.pem
{{- else if and (eq .Values.mode "external-log") .Values.externalLogs -}}
{{- toYaml .Values.externalLogs -}}
{{- end -}}
{{- end -}}

{{/* A flag's value as text: whole numbers without an exponent. */}}
{{- define "mayfly.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{ printf "%.0f" . }}{{- else -}}{{ toString . }}{{- end -}}
{{- end -}}

{{/* A map of flags as arguments; a list repeats ct-log flags and is joined by commas elsewhere. */}}
{{- define "mayfly.settings" -}}
{{- range $flag, $value := . }}
{{- if not (kindIs "slice" $value) }}
- {{ printf "--%s=%s" $flag (include "mayfly.text" $value) | quote }}
{{- else if hasPrefix "ct-log-" $flag }}
{{- range $value }}
- {{ printf "--%s=%s" $flag (include "mayfly.text" .) | quote }}
{{- end }}
{{- else }}
- {{ printf "--%s=%s" $flag (join "," $value) | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Refuses values that render and do not work, with what to do. */}}
{{- define "mayfly.check" -}}
{{- $v := .Values -}}
{{- $ca := $v.server.args.certificateAuthority -}}
{{- if eq $v.mode "standalone" -}}
{{- if gt (int $v.server.replicaCount) 1 }}{{ fail "server.replicaCount: mode standalone has one pod, because its log has one writer; for more CA pods use mode separate-log or external-log" }}{{ end -}}
{{- if $v.server.autoscaling.enabled }}{{ fail "server.autoscaling: mode standalone has one pod, because its log has one writer; for more CA pods use mode separate-log or external-log" }}{{ end -}}
{{- if or $v.externalLogs $v.server.args.ct_log_url }}{{ fail "externalLogs and server.args.ct_log_url name logs elsewhere, which mode standalone does not use: set mode to external-log" }}{{ end -}}
{{- else -}}
{{- if or (eq $ca "") (eq $ca "ephemeralca") }}{{ fail (printf "server.args.certificateAuthority is %q, which makes every pod a CA of its own; mode %s needs fileca, kmsca or pkcs11ca" $ca $v.mode) }}{{ end -}}
{{- if and $v.tsa.enabled (not $v.tsa.secret) }}{{ fail (printf "tsa.secret is required in mode %s: its pods have no data directory that lasts" $v.mode) }}{{ end -}}
{{- end -}}
{{- if eq $v.mode "separate-log" -}}
{{- if not (or $v.log.keySecret (and $v.log.keys.private $v.log.keys.public)) }}{{ fail "log.keySecret is required in mode separate-log: a Secret with key.pem and public.pem of the log (README.md has the two commands)" }}{{ end -}}
{{- if not (or $v.log.roots (eq $ca "fileca") (and (eq $ca "kmsca") $v.server.args.kms_cert_chain)) }}{{ fail (printf "log.roots is required with certificateAuthority %s: PEM of the CA's root, below which the log takes chains" $ca) }}{{ end -}}
{{- if and (gt (int $v.log.replicaCount) 1) (not (index $v.log.settings "ctlog-storage")) }}{{ fail "log.replicaCount: a log in a directory has one writer; a second pod waits to take over only with ctlog-storage and ctlog-postgres (docs/log.md)" }}{{ end -}}
{{- if $v.externalLogs }}{{ fail "externalLogs belongs to mode external-log; mode separate-log uses its own" }}{{ end -}}
{{- end -}}
{{- if eq $v.mode "external-log" -}}
{{- if not (or $v.externalLogs $v.server.args.ct_log_url $v.server.args.disable_ct_log) }}{{ fail "mode external-log needs the log: externalLogs, or server.args.ct_log_url and ct_log_public_key" }}{{ end -}}
{{- if and $v.server.args.ct_log_url (not $v.server.args.ct_log_public_key) }}{{ fail "server.args.ct_log_public_key is required with ct_log_url: PEM of the log's public key, because SCTs are always checked" }}{{ end -}}
{{- end -}}
{{- if and (eq $ca "fileca") (not $v.server.secret) (not (and $v.server.keys.private $v.server.keys.cert)) }}{{ fail "fileca needs server.secret (a Secret with private, cert and perhaps password), or server.keys" }}{{ end -}}
{{- if and (eq $ca "kmsca") (not $v.server.args.kms_resource) }}{{ fail "kmsca needs server.args.kms_resource" }}{{ end -}}
{{- if and (eq $ca "kmsca") (not $v.server.args.kms_cert_chain) (not $v.config.existingConfigMap) }}{{ fail "kmsca needs server.args.kms_cert_chain: the PEM chain of the KMS key, issuing certificate first" }}{{ end -}}
{{- if and (eq $ca "pkcs11ca") (not $v.server.pkcs11Secret) }}{{ fail "pkcs11ca needs server.pkcs11Secret: a Secret with crypto11.conf" }}{{ end -}}
{{- end -}}
