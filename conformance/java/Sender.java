import com.google.auth.oauth2.AccessToken;
import com.google.auth.oauth2.GoogleCredentials;
import com.google.firebase.ErrorCode;
import com.google.firebase.FirebaseApp;
import com.google.firebase.FirebaseOptions;
import com.google.firebase.messaging.AndroidConfig;
import com.google.firebase.messaging.AndroidNotification;
import com.google.firebase.messaging.ApnsConfig;
import com.google.firebase.messaging.Aps;
import com.google.firebase.messaging.BatchResponse;
import com.google.firebase.messaging.FcmOptions;
import com.google.firebase.messaging.FirebaseMessaging;
import com.google.firebase.messaging.FirebaseMessagingException;
import com.google.firebase.messaging.Message;
import com.google.firebase.messaging.MessagingErrorCode;
import com.google.firebase.messaging.MulticastMessage;
import com.google.firebase.messaging.Notification;
import com.google.firebase.messaging.SendResponse;
import com.google.firebase.messaging.WebpushConfig;
import com.google.firebase.messaging.WebpushNotification;
import com.google.gson.Gson;
import com.google.gson.JsonObject;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Date;
import java.util.List;
import java.util.Objects;
import java.util.TreeSet;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/**
 * firebase-admin for Java, unmodified, as an app server: what it asks and how it understands us.
 * sendAll and sendMulticast are the ones over /batch. The last line says how many tests passed.
 */
@SuppressWarnings("deprecation")
public final class Sender {
  /** Of the right shape, and not of this server: the one in the Admin SDKs' own tests. */
  private static final String STRANGE =
      "fGw0qy4TGgk:APA91bGtWGjuhp4WRhHXgbabIYp1jxEKI08ofj_v1bKhWAGJQ4e3arRCWzeTfHaLz83mBnDh0a"
          + "PWB1AykXAVUUGl2h1wT4XI6XazWpvY7RBUSYfoxtqSWGIm2nvWh2BOP1YG501SsRoE";

  private static final String MALFORMED = "not-a-token";

  private interface Test {
    void run() throws Exception;
  }

  private interface Sends {
    BatchResponse send(MulticastMessage message) throws FirebaseMessagingException;
  }

  private final FirebaseMessaging messaging;
  private final Device device;
  private final Device foreign;
  private int passed;
  private int failed;

  private Sender(FirebaseMessaging messaging, Device device, Device foreign) {
    this.messaging = messaging;
    this.device = device;
    this.foreign = foreign;
  }

  public static void main(String[] args) throws Exception {
    FirebaseOptions options =
        FirebaseOptions.builder()
            .setCredentials(GoogleCredentials.getApplicationDefault())
            .setConnectTimeout(20_000)
            .setReadTimeout(20_000)
            .build();
    FirebaseMessaging messaging = FirebaseMessaging.getInstance(FirebaseApp.initializeApp(options));
    boolean good;
    try (Device device = new Device("demo"); Device foreign = new Device("other")) {
      good = new Sender(messaging, device, foreign).all();
    }
    System.exit(good ? 0 : 1);
  }

  private boolean all() {
    test("sends to a token", this::toToken);
    test("sends to a Firebase installation ID", this::toFid);
    test("sends a notification with what each platform adds", this::everyPlatform);
    test("sendEach over HTTP/2", () -> everyNumber(messaging.sendEach(numbered(120)), 120));
    test("sendAll over /batch", () -> everyNumber(messaging.sendAll(numbered(500)), 500));
    test("multicast, each", () -> multicast(messaging::sendEachForMulticast));
    test("multicast over /batch", () -> multicast(messaging::sendMulticast));
    test("a dry run sends nothing", this::dryRun);
    refused("a malformed token", to(MALFORMED), MessagingErrorCode.INVALID_ARGUMENT);
    refused("an unknown token", to(STRANGE), MessagingErrorCode.UNREGISTERED);
    refused("another project's token", to(foreign.token), MessagingErrorCode.SENDER_ID_MISMATCH);
    Message.Builder reserved = to(device.token).putData("from", "me");
    refused("a reserved data key", reserved, MessagingErrorCode.INVALID_ARGUMENT);
    Message.Builder large = to(device.token).putData("k", "x".repeat(4_100));
    refused("more than 4096 bytes", large, MessagingErrorCode.INVALID_ARGUMENT);
    test("a forged access token is unauthenticated", this::forged);
    System.out.println("Sender: " + passed + " passed, " + failed + " failed");
    return failed == 0;
  }

  private void test(String name, Test test) {
    try {
      test.run();
      passed++;
      System.out.println("ok   " + name);
    } catch (Exception | AssertionError e) {
      failed++;
      System.out.println("FAIL " + name);
      e.printStackTrace(System.out);
    }
  }

  private static void expect(Object expected, Object seen) {
    if (!Objects.equals(expected, seen)) {
      throw new AssertionError(seen + " is not " + expected);
    }
  }

  private static void expectName(String name) {
    if (!name.matches("projects/[^/]+/messages/.+")) {
      throw new AssertionError(name);
    }
  }

  private static Message.Builder to(String token) {
    return Message.builder().setToken(token);
  }

  private List<Message> numbered(int count) {
    List<Message> messages = new ArrayList<>();
    for (int n = 0; n < count; n++) {
      messages.add(to(device.token).putData("n", Integer.toString(n)).build());
    }
    return messages;
  }

  private void everyNumber(BatchResponse answer, int count) throws Exception {
    expect(count, answer.getSuccessCount());
    TreeSet<Integer> numbers = new TreeSet<>();
    for (int n = 0; n < count; n++) {
      expectName(answer.getResponses().get(n).getMessageId());
      numbers.add(Integer.valueOf(device.data("n")));
    }
    expect(count, numbers.size());
    expect(count - 1, numbers.last());
  }

  private void toToken() throws Exception {
    expectName(messaging.send(to(device.token).putData("with space", "ü €").build()));
    expect("ü €", device.data("with space"));
  }

  private void toFid() throws Exception {
    expectName(messaging.send(Message.builder().setFid(device.fid).putData("by", "fid").build()));
    expect("fid", device.data("by"));
  }

  private void everyPlatform() throws Exception {
    messaging.send(
        to(device.token)
            .setNotification(Notification.builder().setTitle("Every platform").setBody("the body").build())
            .setAndroidConfig(
                AndroidConfig.builder()
                    .setPriority(AndroidConfig.Priority.HIGH)
                    .setTtl(3_600_000)
                    .setCollapseKey("key")
                    .setNotification(
                        AndroidNotification.builder()
                            .setColor("#112233")
                            .setNotificationCount(3)
                            .setVibrateTimingsInMillis(new long[] {100, 50})
                            .setVisibility(AndroidNotification.Visibility.PUBLIC)
                            .build())
                    .build())
            .setApnsConfig(
                ApnsConfig.builder()
                    .putHeader("apns-priority", "10")
                    .setAps(Aps.builder().setBadge(3).setSound("default").build())
                    .build())
            .setWebpushConfig(
                WebpushConfig.builder()
                    .putHeader("Urgency", "high")
                    .putHeader("X-Custom-Val", "OK")
                    .setNotification(WebpushNotification.builder().setTitle("The web").build())
                    .build())
            .setFcmOptions(FcmOptions.withAnalyticsLabel("conformance"))
            .build());
    JsonObject shown = device.message().getAsJsonObject("notification");
    expect("The web", shown.get("title").getAsString());
    expect("the body", shown.get("body").getAsString());
  }

  private void multicast(Sends sends) throws Exception {
    List<String> tokens = List.of(device.token, MALFORMED, STRANGE, foreign.token);
    BatchResponse answer =
        sends.send(MulticastMessage.builder().addAllTokens(tokens).putData("to", "many").build());
    expect(1, answer.getSuccessCount());
    List<MessagingErrorCode> codes = new ArrayList<>();
    for (SendResponse response : answer.getResponses()) {
      codes.add(response.isSuccessful() ? null : response.getException().getMessagingErrorCode());
    }
    List<MessagingErrorCode> expected = new ArrayList<>();
    expected.add(null);
    expected.add(MessagingErrorCode.INVALID_ARGUMENT);
    expected.add(MessagingErrorCode.UNREGISTERED);
    expected.add(MessagingErrorCode.SENDER_ID_MISMATCH);
    expect(expected, codes);
    expect("many", device.data("to"));
  }

  private void dryRun() throws Exception {
    Message dry = to(device.token).putData("n", "dry").build();
    expectName(messaging.send(dry, true));
    expect(1, messaging.sendAll(List.of(dry), true).getSuccessCount());
    messaging.send(to(device.token).putData("n", "real").build());
    expect("real", device.data("n"));
  }

  private void refused(String what, Message.Builder message, MessagingErrorCode code) {
    test(
        "refuses " + what,
        () -> {
          try {
            messaging.send(message.build());
          } catch (FirebaseMessagingException e) {
            expect(code, e.getMessagingErrorCode());
            return;
          }
          throw new AssertionError("it was accepted");
        });
  }

  /** Gives the same token again when the server does not take it. */
  private static final class Forged extends GoogleCredentials {
    private static final long serialVersionUID = 1;

    @Override
    public AccessToken refreshAccessToken() {
      return new AccessToken("ya29.forged", new Date(System.currentTimeMillis() + 3_600_000));
    }
  }

  private void forged() throws Exception {
    FirebaseOptions options =
        FirebaseOptions.builder()
            .setCredentials(new Forged())
            .setProjectId(System.getenv("GOOGLE_CLOUD_PROJECT"))
            .build();
    FirebaseMessaging forger = FirebaseMessaging.getInstance(FirebaseApp.initializeApp(options, "forger"));
    try {
      forger.send(to(device.token).build());
    } catch (FirebaseMessagingException e) {
      expect(ErrorCode.UNAUTHENTICATED, e.getErrorCode());
      return;
    }
    throw new AssertionError("it was accepted");
  }

  /** The device that the tests send to: @eneris/push-receiver in a process of its own. */
  private static final class Device implements AutoCloseable {
    private static final int PATIENCE_SECONDS = 20;

    final String token;
    final String fid;
    private final Process process;
    private final BlockingQueue<JsonObject> lines = new LinkedBlockingQueue<>(2_000);

    Device(String project) throws Exception {
      process =
          new ProcessBuilder(System.getenv("CONFORMANCE_NODE"), "../node/support/receiver.mjs", project)
              .redirectError(ProcessBuilder.Redirect.INHERIT)
              .start();
      Thread reader = new Thread(this::read);
      reader.setDaemon(true);
      reader.start();
      JsonObject registered = next();
      token = registered.get("token").getAsString();
      fid = registered.get("fid").getAsString();
    }

    private void read() {
      Gson gson = new Gson();
      try (BufferedReader stdout =
          new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
        for (String line = stdout.readLine(); line != null; line = stdout.readLine()) {
          lines.put(gson.fromJson(line, JsonObject.class));
        }
      } catch (Exception ended) {
        // Whoever waits for a message will say that none came.
      }
    }

    private JsonObject next() throws Exception {
      JsonObject line = lines.poll(PATIENCE_SECONDS, TimeUnit.SECONDS);
      if (line == null) {
        throw new AssertionError("nothing arrived within " + PATIENCE_SECONDS + " s");
      }
      return line;
    }

    /** The oldest message that no test has taken. */
    JsonObject message() throws Exception {
      return next().getAsJsonObject("message");
    }

    String data(String key) throws Exception {
      return message().getAsJsonObject("data").get(key).getAsString();
    }

    /** It ends when its input does. */
    @Override
    public void close() throws IOException {
      process.getOutputStream().close();
    }
  }
}
