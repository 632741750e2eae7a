"""The programs that land Kafka's messages in the object store besides `qpipe sink`, as the registries carry them."""
