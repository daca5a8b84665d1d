{{/* The claim template of the data directory. */}}
{{- define "mayfly.claim" -}}
- apiVersion: v1
  kind: PersistentVolumeClaim
  metadata:
    name: data
    {{- with .Values.persistence.annotations }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    accessModes:
      {{- toYaml .Values.persistence.accessModes | nindent 6 }}
    {{- with .Values.persistence.storageClass }}
    storageClassName: {{ . | quote }}
    {{- end }}
    resources:
      requests:
        storage: {{ .Values.persistence.size }}
{{- end -}}

{{/* The files for flags that are read at the start. */}}
{{- define "mayfly.settingsData" -}}
{{- with include "mayfly.ctLogs" . }}
ct-logs.yaml: |
  {{- . | nindent 2 }}
{{- end }}
{{- with .Values.server.args.ct_log_public_key }}
ct-log.pub.pem: |
  {{- . | nindent 2 }}
{{- end }}
{{- with .Values.trustConfig }}
trust.yaml: |
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
