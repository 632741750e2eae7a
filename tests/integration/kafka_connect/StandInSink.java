// In the place of Confluent's S3 sink, which no registry carries: the same options, names and files, in a folder.
package qpipe;

import io.apicurio.registry.utils.converter.avro.AvroData;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Instant;
import java.time.ZoneId;
import java.time.format.DateTimeFormatter;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.apache.avro.Schema;
import org.apache.avro.file.CodecFactory;
import org.apache.avro.file.DataFileWriter;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.kafka.common.config.ConfigDef;
import org.apache.kafka.connect.connector.Task;
import org.apache.kafka.connect.errors.ConnectException;
import org.apache.kafka.connect.errors.DataException;
import org.apache.kafka.connect.sink.SinkConnector;
import org.apache.kafka.connect.sink.SinkRecord;
import org.apache.kafka.connect.sink.SinkTask;

public class StandInSink extends SinkConnector {
    private Map<String, String> options;

    @Override
    public void start(Map<String, String> options) {
        this.options = options;
    }

    @Override
    public Class<? extends Task> taskClass() {
        return Writer.class;
    }

    @Override
    public List<Map<String, String>> taskConfigs(int most) {
        return List.of(options);
    }

    @Override
    public void stop() {}

    @Override
    public ConfigDef config() {
        return new ConfigDef();
    }

    @Override
    public String version() {
        return "1";
    }

    /** One file for each record, which is what flush.size 1 means; it is durable before `put` returns. */
    public static class Writer extends SinkTask {
        // The converter's own way back from Connect's data to Avro; Confluent's AvroFormat has the original of this code.
        private final AvroData avro = new AvroData(1000);
        private Map<String, String> options;
        private DateTimeFormatter folders;

        @Override
        public void start(Map<String, String> options) {
            if (!"1".equals(options.get("flush.size")) || !"Record".equals(options.get("timestamp.extractor"))) {
                throw new ConnectException("only flush.size 1 and the record's timestamp are known here");
            }
            this.options = options;
            folders = DateTimeFormatter.ofPattern(options.get("path.format"), Locale.forLanguageTag(options.get("locale")))
                    .withZone(ZoneId.of(options.get("timezone")));
        }

        @Override
        public void put(Collection<SinkRecord> records) {
            for (SinkRecord record : records) {
                if (record.value() != null) {
                    write(record);
                } else if (options.get("behavior.on.null.values").equals("ignore")) {
                    context.errantRecordReporter().report(record, new DataException("Skipping null value record."));
                } else {
                    throw new ConnectException("Null valued records are not writeable");
                }
            }
        }

        private void write(SinkRecord record) {
            long hour = Long.parseLong(options.get("partition.duration.ms"));
            String folder = folders.format(Instant.ofEpochMilli(record.timestamp() / hour * hour));
            String width = "%0" + options.get("filename.offset.zero.pad.width") + "d";
            String name = String.format("%s+%d+" + width, record.topic(), record.kafkaPartition(), record.kafkaOffset());
            Path file = Path.of(options.get("store.url"), options.get("topics.dir"), record.topic(), folder, name + ".avro");
            Path part = file.resolveSibling("." + name);
            Schema schema = avro.fromConnectSchema(record.valueSchema());
            try {
                Files.createDirectories(file.getParent());
                try (DataFileWriter<Object> writer = new DataFileWriter<>(new GenericDatumWriter<>())) {
                    writer.setCodec(CodecFactory.fromString(options.get("avro.codec")));
                    writer.create(schema, part.toFile());
                    writer.append(avro.fromConnectData(record.valueSchema(), record.value()));
                    writer.fSync();
                }
                Files.move(part, file, StandardCopyOption.ATOMIC_MOVE);
            } catch (IOException error) {
                throw new ConnectException(error);
            }
        }

        @Override
        public void stop() {}

        @Override
        public String version() {
            return "1";
        }
    }
}
