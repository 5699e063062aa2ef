{{- define "sparkyard.labels" -}}
app.kubernetes.io/part-of: sparkyard
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/instance: {{ .Release.Name }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- /*
  What names of objects that are in no namespace begin with. A release is named in its namespace alone, and the point
  keeps the two names apart: no namespace has one.
*/}}
{{- define "sparkyard.ofCluster" -}}
{{ .Release.Namespace }}.{{ .Release.Name }}
{{- end }}

{{- /*
  Which scheduler finds nodes for drivers and executors, empty for the cluster's own. zero-to-jupyterhub's has its name
  from the release.
*/}}
{{- define "sparkyard.scheduler" -}}
{{- if .Values.spark.scheduler -}}
{{ .Values.spark.scheduler }}
{{- else if and .Values.jupyterhub.enabled .Values.jupyterhub.scheduling.userScheduler.enabled -}}
{{ .Release.Name }}-user-scheduler
{{- end }}
{{- end }}

{{- /* The gateway's pods. */}}
{{- define "sparkyard.gateway" -}}
app.kubernetes.io/name: sparkyard-gateway
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* What every container of ours is held to: the Pod Security level restricted. */}}
{{- define "sparkyard.containerSecurity" -}}
runAsNonRoot: true
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "sparkyard.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.gateway.uid }}
runAsGroup: {{ .Values.gateway.uid }}
fsGroup: {{ .Values.gateway.uid }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- /* The proxy's replicas, and the store of their routes. */}}
{{- define "sparkyard.traefik" -}}
app.kubernetes.io/name: sparkyard-traefik
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sparkyard.store" -}}
app.kubernetes.io/name: sparkyard-redis
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "sparkyard.proxySecurity" -}}
runAsNonRoot: true
runAsUser: {{ .Values.traefik.uid }}
runAsGroup: {{ .Values.traefik.uid }}
fsGroup: {{ .Values.traefik.uid }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "sparkyard.gatewayImage" -}}
{{ .Values.gateway.image.name }}:{{ .Values.gateway.image.tag }}
{{- end }}

{{- /* The catalog as data; ends with a sentence where there is none. */}}
{{- define "sparkyard.catalog" -}}
{{- $text := required "catalog is empty: give your catalog by --set-file catalog=catalog.yaml" .Values.catalog }}
{{- $data := fromYaml $text }}
{{- if hasKey $data "Error" }}{{ fail (printf "catalog is not YAML; sparkyard-catalog check says more: %s" $data.Error) }}{{ end }}
{{- if not $data.images }}{{ fail "catalog names no images; sparkyard-catalog check says more" }}{{ end }}
{{- range $name, $team := $data.teams }}
{{- if and $team.namespace (not (has $team.namespace $.Values.spark.namespaces)) }}
{{- fail (printf "the catalog's team %s has the namespace %s, and spark.namespaces does not list it" $name $team.namespace) }}
{{- end }}
{{- end }}
{{- toJson $data }}
{{- end }}

{{- /* Where DNS is asked: the cluster's own, and a cache on the node where there is one. */}}
{{- define "sparkyard.dns" -}}
- to:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}
    - ipBlock: {cidr: 169.254.20.10/32}
  ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
{{- end }}

{{- /* All addresses but the metadata's and the private networks'. */}}
{{- define "sparkyard.internet" -}}
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except: {{ toJson (concat .Values.networkPolicies.metadataAddresses .Values.networkPolicies.privateNetworks) }}
{{- end }}

{{- define "sparkyard.apiServer" -}}
- to:
    {{- range .Values.networkPolicies.apiServer.addresses }}
    - ipBlock:
        cidr: {{ . }}
        {{- if eq . "0.0.0.0/0" }}
        except: {{ toJson $.Values.networkPolicies.metadataAddresses }}
        {{- end }}
    {{- end }}
  ports:
    {{- range .Values.networkPolicies.apiServer.ports }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end }}

{{- /* Peers in private networks: a list of addresses as egress rules. */}}
{{- define "sparkyard.addresses" -}}
{{- if . }}
- to:
    {{- range . }}
    - ipBlock: {cidr: {{ . }}}
    {{- end }}
{{- end }}
{{- end }}
