package filters

import (
	"testing"
	"time"
)

func TestTime(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"24h":                       now.Add(-24 * time.Hour),
		"0":                         time.Unix(0, 0),
		"1700000000":                time.Unix(1700000000, 0),
		"1700000000.5":              time.Unix(1700000000, 500000000),
		"2026-01-02":                time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC),
		"2026-01-02T03":             time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC),
		"2026-01-02T03:04":          time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC),
		"2026-01-02T03:04:05":       time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		"2026-01-02T03:04:05.6":     time.Date(2026, 1, 2, 3, 4, 5, 600000000, time.UTC),
		"2026-01-02T03:04:05+01:00": time.Date(2026, 1, 2, 2, 4, 5, 0, time.UTC),
		"2026-01-02T03:04:05Z":      time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	} {
		if got, err := Time(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", " ", "x", "2026-13-01", "1.x"} {
		if got, err := Time(text, now); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestTimeInAZone(t *testing.T) {
	zone := time.FixedZone("here", 3600)
	now := time.Date(2026, 11, 27, 12, 0, 0, 0, zone)
	for value, want := range map[string]string{
		"10m":                       "2026-11-27T10:50:00Z",
		"2026-11-27":                "2026-11-26T23:00:00Z",
		"2026-11-27T10":             "2026-11-27T09:00:00Z",
		"2026-11-27T10:11":          "2026-11-27T09:11:00Z",
		"2026-11-27T10:11:12.5":     "2026-11-27T09:11:12.5Z",
		"2026-11-27T10:11:12Z":      "2026-11-27T10:11:12Z",
		"2026-11-27T10:11:12-02:00": "2026-11-27T12:11:12Z",
		"2026-11-27Z":               "2026-11-27T00:00:00Z",
		"0":                         "1970-01-01T00:00:00Z",
		"5.25":                      "1970-01-01T00:00:05.25Z",
	} {
		got, err := Time(value, now)
		if err != nil || got.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("%s: %v, %v; want %s", value, got, err, want)
		}
	}
}
