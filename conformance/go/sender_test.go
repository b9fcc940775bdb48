// firebase-admin for Go, unmodified, as an app server: what it asks and how it understands us. SendAll
// and SendMulticast are the ones over /batch.
package conformance

import (
	"context"
	"fmt"
	"log"
	"os"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	firebase "firebase.google.com/go/v4"
	"firebase.google.com/go/v4/errorutils"
	"firebase.google.com/go/v4/messaging"
	"golang.org/x/oauth2"
	"google.golang.org/api/option"
)

// Of the right shape, and not of this server: the one in the Admin SDKs' own tests.
const strange = "fGw0qy4TGgk:APA91bGtWGjuhp4WRhHXgbabIYp1jxEKI08ofj_v1bKhWAGJQ4e3arRCWzeTfHaLz83mBnDh0a" +
	"PWB1AykXAVUUGl2h1wT4XI6XazWpvY7RBUSYfoxtqSWGIm2nvWh2BOP1YG501SsRoE"

var (
	ctx       = context.Background()
	project   = os.Getenv("GOOGLE_CLOUD_PROJECT")
	name      = regexp.MustCompile(`^projects/` + regexp.QuoteMeta(project) + `/messages/.+$`)
	client    *messaging.Client
	phone     *device
	foreigner *device
)

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if client, err = newClient(); err != nil {
		log.Fatal(err)
	}
	if phone, err = startDevice("demo"); err != nil {
		log.Fatal(err)
	}
	defer phone.stop()
	if foreigner, err = startDevice("other"); err != nil {
		log.Fatal(err)
	}
	defer foreigner.stop()
	return m.Run()
}

func newClient(options ...option.ClientOption) (*messaging.Client, error) {
	app, err := firebase.NewApp(ctx, &firebase.Config{ProjectID: project}, options...)
	if err != nil {
		return nil, err
	}
	return app.Messaging(ctx)
}

func numbered(count int) []*messaging.Message {
	messages := make([]*messaging.Message, count)
	for n := range messages {
		messages[n] = &messaging.Message{Token: phone.token, Data: map[string]string{"n": strconv.Itoa(n)}}
	}
	return messages
}

func expectNumbers(t *testing.T, count int) {
	t.Helper()
	var numbers []int
	for range count {
		n, err := strconv.Atoi(phone.next(t).Message.Data["n"])
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, n)
	}
	sort.Ints(numbers)
	for n, number := range numbers {
		if n != number {
			t.Fatalf("%v", numbers)
		}
	}
}

func expectData(t *testing.T, expected map[string]string) {
	t.Helper()
	if data := phone.next(t).Message.Data; fmt.Sprint(data) != fmt.Sprint(expected) {
		t.Fatalf("%v arrived, not %v", data, expected)
	}
}

func TestSend(t *testing.T) {
	data := map[string]string{"score": "850", "with space": "ü €"}
	id, err := client.Send(ctx, &messaging.Message{Token: phone.token, Data: data})
	if err != nil || !name.MatchString(id) {
		t.Fatalf("%q, %v", id, err)
	}
	expectData(t, data)
}

func TestSendToAnInstallationID(t *testing.T) {
	data := map[string]string{"by": "fid"}
	if _, err := client.Send(ctx, &messaging.Message{Fid: phone.fid, Data: data}); err != nil {
		t.Fatal(err)
	}
	expectData(t, data)
}

func TestSendWithWhatEachPlatformAdds(t *testing.T) {
	ttl, count, badge := time.Hour, 3, 7
	event := time.Date(2026, 11, 24, 12, 0, 0, 100_000_000, time.UTC)
	_, err := client.Send(ctx, &messaging.Message{
		Token:        phone.token,
		Notification: &messaging.Notification{Title: "Every platform", Body: "the body"},
		Android: &messaging.AndroidConfig{
			Priority: "high", TTL: &ttl, CollapseKey: "key",
			Notification: &messaging.AndroidNotification{
				Color: "#112233", EventTimestamp: &event, NotificationCount: &count,
				Priority: messaging.PriorityHigh, Visibility: messaging.VisibilityPublic,
				VibrateTimingMillis: []int64{100, 50},
				LightSettings: &messaging.LightSettings{
					Color: "#00ff0080", LightOnDurationMillis: 10, LightOffDurationMillis: 20,
				},
			},
		},
		APNS: &messaging.APNSConfig{
			Headers: map[string]string{"apns-priority": "10"},
			Payload: &messaging.APNSPayload{Aps: &messaging.Aps{Badge: &badge, Sound: "default"}},
		},
		Webpush: &messaging.WebpushConfig{
			Headers:      map[string]string{"Urgency": "high"},
			Notification: &messaging.WebpushNotification{Title: "The web", RequireInteraction: true},
		},
		FCMOptions: &messaging.FCMOptions{AnalyticsLabel: "conformance"},
	})
	if err != nil {
		t.Fatal(err)
	}
	shown := phone.next(t).Message.Notification
	if shown["title"] != "The web" || shown["body"] != "the body" || shown["requireInteraction"] != true {
		t.Fatalf("%v", shown)
	}
}

func TestSendEachWithFiftyWorkers(t *testing.T) {
	answer, err := client.SendEach(ctx, numbered(120))
	if err != nil || answer.SuccessCount != 120 {
		t.Fatalf("%+v, %v", answer, err)
	}
	expectNumbers(t, 120)
}

func TestSendAllOverBatch(t *testing.T) {
	answer, err := client.SendAll(ctx, numbered(500))
	if err != nil || answer.SuccessCount != 500 {
		t.Fatalf("%+v, %v", answer, err)
	}
	for _, response := range answer.Responses {
		if !name.MatchString(response.MessageID) {
			t.Fatal(response.MessageID)
		}
	}
	expectNumbers(t, 500)
}

type multicast func(context.Context, *messaging.MulticastMessage) (*messaging.BatchResponse, error)

func TestMulticastTellsTheGoodTokenFromTheKindsOfBadOnes(t *testing.T) {
	sends := map[string]multicast{"each": client.SendEachForMulticast, "batch": client.SendMulticast}
	for kind, send := range sends {
		tokens := []string{phone.token, "not-a-token", strange, foreigner.token}
		data := map[string]string{"to": kind}
		answer, err := send(ctx, &messaging.MulticastMessage{Tokens: tokens, Data: data})
		if err != nil || answer.SuccessCount != 1 || answer.FailureCount != 3 {
			t.Fatalf("%s: %+v, %v", kind, answer, err)
		}
		is := []func(error) bool{messaging.IsInvalidArgument, messaging.IsUnregistered, messaging.IsSenderIDMismatch}
		for n, expected := range is {
			if err := answer.Responses[n+1].Error; !expected(err) {
				t.Errorf("%s: token %d: %v", kind, n+1, err)
			}
		}
		expectData(t, data)
	}
}

func TestADryRunSendsNothing(t *testing.T) {
	dry := &messaging.Message{Token: phone.token, Data: map[string]string{"n": "dry"}}
	if id, err := client.SendDryRun(ctx, dry); err != nil || !name.MatchString(id) {
		t.Fatalf("%q, %v", id, err)
	}
	if answer, err := client.SendAllDryRun(ctx, []*messaging.Message{dry}); err != nil || answer.SuccessCount != 1 {
		t.Fatalf("%+v, %v", answer, err)
	}
	real := map[string]string{"n": "real"}
	if _, err := client.Send(ctx, &messaging.Message{Token: phone.token, Data: real}); err != nil {
		t.Fatal(err)
	}
	expectData(t, real)
}

func TestRefusals(t *testing.T) {
	long := strings.Repeat("x", 4100)
	for what, test := range map[string]struct {
		message *messaging.Message
		is      func(error) bool
	}{
		"a malformed token":          {&messaging.Message{Token: "not-a-token"}, messaging.IsInvalidArgument},
		"an unknown token":           {&messaging.Message{Token: strange}, messaging.IsUnregistered},
		"another project's token":    {&messaging.Message{Token: foreigner.token}, messaging.IsSenderIDMismatch},
		"an unknown installation ID": {&messaging.Message{Fid: "not-a-fid"}, messaging.IsUnregistered},
		"a reserved data key": {
			&messaging.Message{Token: phone.token, Data: map[string]string{"from": "me"}}, messaging.IsInvalidArgument,
		},
		"more than 4096 bytes": {
			&messaging.Message{Token: phone.token, Data: map[string]string{"k": long}}, messaging.IsInvalidArgument,
		},
	} {
		if _, err := client.Send(ctx, test.message); !test.is(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestAForgedAccessTokenIsUnauthenticated(t *testing.T) {
	forged := oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "ya29.forged"})
	forger, err := newClient(option.WithTokenSource(forged))
	if err != nil {
		t.Fatal(err)
	}
	_, err = forger.Send(ctx, &messaging.Message{Token: phone.token})
	if !errorutils.IsUnauthenticated(err) {
		t.Fatal(err)
	}
}
