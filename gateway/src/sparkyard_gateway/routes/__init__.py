"""Routes translate: a request into a service's call, its result into an answer. They decide nothing."""
