{{/* The arguments of `mayfly serve`. */}}
{{- define "mayfly.serverArgs" -}}
{{- $args := .Values.server.args -}}
- serve
- --port={{ $args.port }}
- --grpc-port={{ $args.grpcPort }}
- --metrics-port={{ $args.metricsPort }}
- --data-dir=/data
- --config-path=/etc/fulcio-config/config.yaml
- {{ printf "--public-url=%s" (include "mayfly.publicUrl" .) | quote }}
{{- if $args.certificateAuthority }}
- --ca={{ $args.certificateAuthority }}
{{- end }}
{{- if eq $args.certificateAuthority "fileca" }}
- --fileca-key=/var/run/fulcio-secrets/key.pem
- --fileca-cert=/var/run/fulcio-secrets/cert.pem
{{- else if eq $args.certificateAuthority "kmsca" }}
- {{ printf "--kms-resource=%s" $args.kms_resource | quote }}
- --kms-cert-chain-path=/etc/fulcio-config/chain.pem
{{- else if eq $args.certificateAuthority "pkcs11ca" }}
- --pkcs11-config-path=/etc/mayfly/pkcs11/crypto11.conf
{{- with $args.hsm_caroot_id }}
- {{ printf "--hsm-caroot-id=%s" . | quote }}
{{- end }}
{{- with $args.hsm_key_label }}
- {{ printf "--hsm-key-label=%s" . | quote }}
{{- end }}
{{- end }}
{{- if $args.disable_ct_log }}
- --ct-log-url=
{{- else if include "mayfly.ctLogs" . }}
- --ct-logs-config=/etc/mayfly/settings/ct-logs.yaml
{{- else if $args.ct_log_url }}
- {{ printf "--ct-log-url=%s" $args.ct_log_url | quote }}
- --ct-log-public-key-path=/etc/mayfly/settings/ct-log.pub.pem
{{- end }}
{{- if .Values.server.tlsSecret }}
- --http-tls-certificate=/etc/mayfly/tls/tls.crt
- --http-tls-key=/etc/mayfly/tls/tls.key
{{- end }}
{{- if .Values.server.grpcSvcTLS.secretName }}
- --grpc-tls-certificate=/etc/mayfly/grpc-tls/cert.pem
- --grpc-tls-key=/etc/mayfly/grpc-tls/key.pem
{{- end }}
{{- if .Values.audit.enabled }}
- {{ printf "--audit-log=%s" .Values.audit.output | quote }}
{{- end }}
{{- if .Values.page.enabled }}
- --page=true
{{- if .Values.page.port }}
- --page-port={{ .Values.page.port }}
{{- end }}
{{- end }}
{{- if .Values.tsa.enabled }}
- --tsa=true
{{- if .Values.tsa.secret }}
- --tsa-key=/etc/mayfly/tsa/key.pem
- --tsa-cert-chain=/etc/mayfly/tsa/cert.pem
{{- end }}
{{- end }}
{{- if .Values.tuf.existingClaim }}
- --tuf-dir=/tuf
{{- end }}
{{- if .Values.trustConfig }}
- --trust-config=/etc/mayfly/settings/trust.yaml
{{- end }}
{{- include "mayfly.settings" .Values.server.settings }}
{{- range .Values.server.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Whether a ConfigMap with files for flags is needed: text when it is. */}}
{{- define "mayfly.hasSettings" -}}
{{- if or (include "mayfly.ctLogs" .) (and .Values.server.args.ct_log_url (not .Values.server.args.disable_ct_log)) .Values.trustConfig }}true{{ end -}}
{{- end -}}

{{/* The environment of the CA container: passwords by reference, never as arguments. */}}
{{- define "mayfly.serverEnv" -}}
- name: FULCIO_SERVE_PORT
  value: {{ .Values.server.args.port | quote }}
{{- if eq .Values.server.args.certificateAuthority "fileca" }}
- name: FULCIO_SERVE_FILECA_KEY_PASSWD
  valueFrom:
    secretKeyRef:
      name: {{ include "mayfly.caSecret" . }}
      key: password
      optional: true
{{- end }}
{{- if and .Values.tsa.enabled .Values.tsa.secret }}
- name: FULCIO_SERVE_TSA_KEY_PASSWORD
  valueFrom:
    secretKeyRef:
      name: {{ .Values.tsa.secret }}
      key: password
      optional: true
{{- end }}
{{- with .Values.server.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "mayfly.serverMounts" -}}
- name: data
  mountPath: /data
- name: config
  mountPath: /etc/fulcio-config
  readOnly: true
{{- if include "mayfly.hasSettings" . }}
- name: settings
  mountPath: /etc/mayfly/settings
  readOnly: true
{{- end }}
{{- if eq .Values.server.args.certificateAuthority "fileca" }}
- name: ca
  mountPath: /var/run/fulcio-secrets
  readOnly: true
{{- end }}
{{- if eq .Values.server.args.certificateAuthority "pkcs11ca" }}
- name: pkcs11
  mountPath: /etc/mayfly/pkcs11
  readOnly: true
{{- end }}
{{- if eq .Values.mode "separate-log" }}
- name: log-key
  mountPath: /etc/mayfly/log-key
  readOnly: true
{{- end }}
{{- if .Values.server.tlsSecret }}
- name: tls
  mountPath: /etc/mayfly/tls
  readOnly: true
{{- end }}
{{- if .Values.server.grpcSvcTLS.secretName }}
- name: grpc-tls
  mountPath: /etc/mayfly/grpc-tls
  readOnly: true
{{- end }}
{{- if and .Values.tsa.enabled .Values.tsa.secret }}
- name: tsa
  mountPath: /etc/mayfly/tsa
  readOnly: true
{{- end }}
{{- if .Values.tuf.existingClaim }}
- name: tuf
  mountPath: /tuf
  readOnly: true
{{- end }}
{{- if .Values.server.serviceAccount.mountToken }}
- name: cluster-ca
  mountPath: /var/run/fulcio
  readOnly: true
{{- end }}
{{- with .Values.server.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "mayfly.serverVolumes" -}}
- name: config
  configMap:
    name: {{ include "mayfly.configMap" . }}
{{- if include "mayfly.hasSettings" . }}
- name: settings
  configMap:
    name: {{ include "mayfly.fullname" . }}-settings
{{- end }}
{{- if eq .Values.server.args.certificateAuthority "fileca" }}
- name: ca
  secret:
    secretName: {{ include "mayfly.caSecret" . }}
    defaultMode: 0440
    items:
      - key: private
        path: key.pem
      - key: cert
        path: cert.pem
{{- end }}
{{- if eq .Values.server.args.certificateAuthority "pkcs11ca" }}
- name: pkcs11
  secret:
    secretName: {{ .Values.server.pkcs11Secret }}
    defaultMode: 0440
{{- end }}
{{- if eq .Values.mode "separate-log" }}
- name: log-key
  secret:
    secretName: {{ include "mayfly.logSecret" . }}
    defaultMode: 0440
    items:
      - key: public.pem
        path: public.pem
{{- end }}
{{- with .Values.server.tlsSecret }}
- name: tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.server.grpcSvcTLS }}
{{- if .secretName }}
- name: grpc-tls
  secret:
    secretName: {{ .secretName }}
    defaultMode: 0440
    items:
      - key: {{ .certField }}
        path: cert.pem
      - key: {{ .keyField }}
        path: key.pem
{{- end }}
{{- end }}
{{- if and .Values.tsa.enabled .Values.tsa.secret }}
- name: tsa
  secret:
    secretName: {{ .Values.tsa.secret }}
    defaultMode: 0440
    items:
      - key: private
        path: key.pem
      - key: cert
        path: cert.pem
{{- end }}
{{- with .Values.tuf.existingClaim }}
- name: tuf
  persistentVolumeClaim:
    claimName: {{ . }}
    readOnly: true
{{- end }}
{{- if .Values.server.serviceAccount.mountToken }}
- name: cluster-ca
  configMap:
    name: kube-root-ca.crt
{{- end }}
{{- with .Values.server.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The data volume where it is not made from a claim template. */}}
{{- define "mayfly.dataVolume" -}}
{{- if eq .Values.mode "standalone" }}
{{- if not .Values.persistence.enabled }}
- name: data
  emptyDir: {}
{{- else if .Values.persistence.existingClaim }}
- name: data
  persistentVolumeClaim:
    claimName: {{ .Values.persistence.existingClaim }}
{{- end }}
{{- else }}
- name: data
  emptyDir: {}
{{- end }}
{{- end -}}

{{/* The pod template of the CA, the same in a Deployment and in a StatefulSet. */}}
{{- define "mayfly.serverPod" -}}
metadata:
  labels:
    {{- include "mayfly.labels" (list . "server") | nindent 4 }}
    {{- with .Values.server.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: mayfly
    {{- if include "mayfly.hasSettings" . }}
    # These files are read at the start alone, other than the identity configuration, keys and chains.
    checksum/settings: {{ include "mayfly.settingsData" . | sha256sum }}
    {{- end }}
    {{- with .Values.server.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "mayfly.serviceAccountName" . }}
  automountServiceAccountToken: {{ .Values.server.serviceAccount.mountToken }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: 45
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.server.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  containers:
    - name: mayfly
      image: {{ include "mayfly.image" . }}
      imagePullPolicy: {{ .Values.server.image.pullPolicy }}
      args:
        {{- include "mayfly.serverArgs" . | nindent 8 }}
      env:
        {{- include "mayfly.serverEnv" . | nindent 8 }}
      {{- with .Values.server.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: http
          containerPort: {{ .Values.server.args.port }}
        - name: grpc
          containerPort: {{ .Values.server.args.grpcPort }}
        - name: metrics
          containerPort: {{ .Values.server.args.metricsPort }}
        {{- if and .Values.page.enabled .Values.page.port }}
        - name: page
          containerPort: {{ .Values.page.port }}
        {{- end }}
      {{- include "mayfly.probes" (include "mayfly.scheme" .) | nindent 6 }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      resources:
        {{- toYaml .Values.server.resources | nindent 8 }}
      volumeMounts:
        {{- include "mayfly.serverMounts" . | nindent 8 }}
    {{- with .Values.server.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "mayfly.serverVolumes" . | nindent 4 }}
    {{- include "mayfly.dataVolume" . | nindent 4 }}
  {{- with .Values.server.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.server.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.server.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.server.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Probes of a pod, by scheme; a long start (an index that is built anew) is not cut short. */}}
{{- define "mayfly.probes" -}}
startupProbe:
  httpGet:
    path: /healthz
    port: http
    scheme: {{ . }}
  periodSeconds: 2
  failureThreshold: 300
livenessProbe:
  httpGet:
    path: /healthz
    port: http
    scheme: {{ . }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet:
    path: /readyz
    port: http
    scheme: {{ . }}
  periodSeconds: 5
  timeoutSeconds: 3
lifecycle:
  preStop:
    exec:
      # Proxies need a moment to learn that this pod is going; the image has no shell and no sleep.
      command: [/nodejs/bin/node, -e, "setTimeout(() => {}, 5000)"]
{{- end -}}
