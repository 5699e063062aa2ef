{{- define "jupyterhub.labels" -}}
app: jupyterhub
release: {{ .Release.Name }}
{{- end }}
{{- define "jupyterhub.container" -}}
allowPrivilegeEscalation: false
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}
{{- define "jupyterhub.dns" -}}
- to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}}]
  ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
{{- end }}
{{- /* Open unless it is closed by the values. */}}
{{- define "jupyterhub.metadata" -}}
{{- if dig "egressAllowRules" "cloudMetadataServer" true (. | default dict) }}
- to: [{ipBlock: {cidr: 169.254.169.254/32}}]
{{- end }}
{{- if dig "egressAllowRules" "dnsPortsCloudMetadataServer" true (. | default dict) }}
- to: [{ipBlock: {cidr: 169.254.169.254/32}}]
  ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
{{- end }}
{{- end }}
