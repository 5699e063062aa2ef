#!/bin/sh
# Starts a Spark executor in any image that has Java and Spark: an image needs no entrypoint for it. Spark's scheduler
# says by SPARK_* what the executor is; in the end this process is the executor's JVM, which gets the pod's signals.
set -eu

if [ -z "${SPARK_HOME:-}" ]; then
    SPARK_HOME=$(python3 -c 'import importlib.util as u; print(next(iter(u.find_spec("pyspark").submodule_search_locations)))') || {
        echo "This image has no Spark: SPARK_HOME is not set, and its python3 has no pyspark." >&2
        exit 64
    }
    export SPARK_HOME
fi

java=java
[ -z "${JAVA_HOME:-}" ] || java=$JAVA_HOME/bin/java
command -v "$java" >/dev/null || {
    echo "This image has no Java: there is no '$java'." >&2
    exit 64
}

set --
number=0
while eval "option=\${SPARK_JAVA_OPT_$number-}" && [ -n "$option" ]; do
    set -- "$@" "$option"
    number=$((number + 1))
done

classes=${SPARK_CONF_DIR:-$SPARK_HOME/conf}:${SPARK_CLASSPATH:+$SPARK_CLASSPATH:}$SPARK_HOME/jars/*
[ -z "${HADOOP_CONF_DIR:-}" ] || classes=$HADOOP_CONF_DIR:$classes
[ -z "${SPARK_EXTRA_CLASSPATH:-}" ] || classes=$SPARK_EXTRA_CLASSPATH:$classes
[ -z "${SPARK_DIST_CLASSPATH:-}" ] || classes=$classes:$SPARK_DIST_CLASSPATH

# Spark reads the secret that it shares with its driver from a file only where it sees that it runs on Kubernetes, and it
# is told so by the driver, for which it needs that secret: so it is told here.
exec "$java" "$@" -Dspark.master=k8s://executor "-Xms$SPARK_EXECUTOR_MEMORY" "-Xmx$SPARK_EXECUTOR_MEMORY" -cp "$classes" \
    org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend \
    --driver-url "$SPARK_DRIVER_URL" \
    --executor-id "$SPARK_EXECUTOR_ID" \
    --cores "$SPARK_EXECUTOR_CORES" \
    --app-id "$SPARK_APPLICATION_ID" \
    --hostname "$SPARK_EXECUTOR_POD_IP" \
    --resourceProfileId "${SPARK_RESOURCE_PROFILE_ID:-0}" \
    --podName "$SPARK_EXECUTOR_POD_NAME"
