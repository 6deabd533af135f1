package restart

import (
	"testing"
	"time"

	api "github.com/moby/moby/api/types/container"
)

func TestNext(t *testing.T) {
	policy := func(name api.RestartPolicyMode, n int) api.RestartPolicy {
		return api.RestartPolicy{Name: name, MaximumRetryCount: n}
	}
	for name, tc := range map[string]struct {
		policy api.RestartPolicy
		past   Past
		pause  time.Duration
		again  bool
	}{
		"none":                     {policy: policy("", 0), past: Past{ExitCode: 1}},
		"no":                       {policy: policy("no", 0), past: Past{ExitCode: 1}},
		"always, code 0":           {policy: policy("always", 0), pause: First, again: true},
		"always, stopped":          {policy: policy("always", 0), past: Past{Stopped: true, Signaled: true}},
		"always, signaled":         {policy: policy("always", 0), past: Past{Signaled: true}, pause: First, again: true},
		"unless-stopped":           {policy: policy("unless-stopped", 0), pause: First, again: true},
		"unless-stopped, signaled": {policy: policy("unless-stopped", 0), past: Past{Signaled: true}},
		"on-failure, code 0":       {policy: policy("on-failure", 0)},
		"on-failure, code 1":       {policy: policy("on-failure", 0), past: Past{ExitCode: 1, Count: 99}, pause: First, again: true},
		"on-failure:2, second":     {policy: policy("on-failure", 2), past: Past{ExitCode: 1, Count: 1, Pause: First}, pause: 2 * First, again: true},
		"on-failure:2, third":      {policy: policy("on-failure", 2), past: Past{ExitCode: 1, Count: 2, Pause: 2 * First}},
		"pause doubles":            {policy: policy("always", 0), past: Past{Pause: 40 * time.Second}, pause: Longest, again: true},
		"pause stays":              {policy: policy("always", 0), past: Past{Pause: Longest}, pause: Longest, again: true},
		"ran nearly long":          {policy: policy("always", 0), past: Past{Pause: Longest, Ran: Settled - 1}, pause: Longest, again: true},
		"ran long":                 {policy: policy("always", 0), past: Past{Pause: Longest, Ran: Settled}, pause: First, again: true},
	} {
		t.Run(name, func(t *testing.T) {
			pause, again := Next(tc.policy, tc.past)
			if pause != tc.pause || again != tc.again {
				t.Errorf("got %v %v, want %v %v", pause, again, tc.pause, tc.again)
			}
		})
	}
}

func TestAtLoad(t *testing.T) {
	for name, tc := range map[string]struct {
		policy api.RestartPolicyMode
		past   Past
		want   bool
	}{
		"no":                     {"no", Past{ExitCode: 1}, false},
		"always":                 {"always", Past{}, true},
		"always, stopped":        {"always", Past{Stopped: true}, true},
		"unless-stopped":         {"unless-stopped", Past{}, true},
		"unless-stopped, stoppd": {"unless-stopped", Past{Stopped: true}, false},
		"on-failure, failed":     {"on-failure", Past{ExitCode: 255}, true},
		"on-failure, stopped":    {"on-failure", Past{ExitCode: 137, Stopped: true}, false},
		"on-failure, well":       {"on-failure", Past{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := AtLoad(api.RestartPolicy{Name: tc.policy}, tc.past); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
