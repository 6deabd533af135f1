package restart

import (
	"fmt"
	"strconv"
	"strings"
)

// The labels, with the words that their values may have.
const (
	StatusLabel            = "containerd.io/restart.status"             // running or stopped; a container without it is left alone
	PolicyLabel            = "containerd.io/restart.policy"             // no, always, unless-stopped, on-failure or on-failure:MOST; "": always
	LogURILabel            = "containerd.io/restart.loguri"             // stdout and stderr of a restarted task
	CountLabel             = "containerd.io/restart.count"              // how often it was restarted
	ExplicitlyStoppedLabel = "containerd.io/restart.explicitly-stopped" // true: somebody has stopped it on purpose
)

const (
	running = "running"
	stopped = "stopped"
)

// policy says when to start a container again.
type policy struct {
	name string
	most int // restarts of on-failure; 0: without limit
}

func parsePolicy(text string) (policy, error) {
	name, most, limited := strings.Cut(text, ":")
	switch name {
	case "":
		name = "always"
	case "no", "always", "unless-stopped", "on-failure":
	default:
		return policy{}, fmt.Errorf("restart policy %q is unknown", text)
	}
	if !limited {
		return policy{name: name}, nil
	}
	n, err := strconv.Atoi(most)
	if name != "on-failure" || err != nil || n < 0 {
		return policy{}, fmt.Errorf("restart policy %q: only on-failure has a number behind it", text)
	}
	return policy{name, n}, nil
}

// wants tells whether a container with these labels is to be started again; code is how its last task ended, 0 if
// there was none.
func wants(labels map[string]string, code uint32) (bool, error) {
	p, err := parsePolicy(labels[PolicyLabel])
	if err != nil {
		return false, err
	}
	if told(labels[ExplicitlyStoppedLabel]) {
		return false, nil
	}
	switch p.name {
	case "always", "unless-stopped":
		return true, nil
	case "on-failure":
		n, err := count(labels)
		return err == nil && code != 0 && (p.most == 0 || n < p.most), err
	}
	return false, nil
}

// told reads a label that says yes or no; what is neither is no.
func told(value string) bool {
	yes, err := strconv.ParseBool(value)
	return err == nil && yes
}

func count(labels map[string]string) (int, error) {
	text := labels[CountLabel]
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("label %s: %q is no number", CountLabel, text)
	}
	return n, nil
}
