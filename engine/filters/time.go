package filters

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// layouts are the forms of a point in time that the API takes, without and with a zone.
var layouts = []string{
	"2006-01-02T15:04:05.999999999Z07:00", "2006-01-02T15:04Z07:00", "2006-01-02T15Z07:00", "2006-01-02Z07:00",
}

// Time reads a duration before now ("24h"), a date in one of RFC 3339's forms, or seconds since 1970 with
// an optional fraction: what "until" and "since" are in filters.
func Time(value string, now time.Time) (time.Time, error) {
	if strings.TrimSpace(value) == "" {
		return time.Time{}, errors.New("failed to parse value as time or duration: value is empty")
	}
	if d, err := time.ParseDuration(value); err == nil && value != "0" {
		return now.Add(-d), nil
	}
	var first error
	for _, layout := range layouts {
		t, err := time.Parse(layout, value)
		if err != nil {
			local := strings.TrimSuffix(layout, "Z07:00")
			t, err = time.ParseInLocation(local, value, now.Location())
		}
		if err == nil {
			return t, nil
		}
		first = errors.Join(first, err)
	}
	if strings.Contains(value, "-") {
		return time.Time{}, first
	}
	t, err := parseUnix(value)
	if err != nil {
		return time.Time{}, fmt.Errorf("failed to parse value as time or duration: %w", err)
	}
	return t, nil
}

// parseUnix reads seconds with an optional fraction.
func parseUnix(value string) (time.Time, error) {
	whole, fraction, _ := strings.Cut(value, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("invalid seconds %q: %w", whole, errors.Unwrap(err))
	}
	var nsec int64
	if fraction != "" {
		padded := (fraction + "000000000")[:9]
		if nsec, err = strconv.ParseInt(padded, 10, 64); err != nil {
			return time.Time{}, fmt.Errorf("invalid nanoseconds %q: %w", fraction, errors.Unwrap(err))
		}
	}
	return time.Unix(sec, nsec), nil
}
