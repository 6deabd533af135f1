package changes

import (
	"encoding/json"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
)

func TestApply(t *testing.T) {
	start := container.Config{Env: []string{"A=1"}, Cmd: []string{"old"}, WorkingDir: "/w", Labels: map[string]string{"l": "1"}}
	for _, c := range []struct {
		name  string
		lines []string
		want  string // JSON, laid over what was there
	}{
		{"command", []string{`CMD ["a","b"]`}, `{"Cmd":["a","b"]}`},
		{"shell form", []string{"CMD a b"}, `{"Cmd":["/bin/sh","-c","a b"]}`},
		{"entrypoint clears the command", []string{`ENTRYPOINT ["e"]`}, `{"Entrypoint":["e"],"Cmd":null}`},
		{"command, then entrypoint", []string{`CMD ["c"]`, `ENTRYPOINT ["e"]`}, `{"Entrypoint":["e"],"Cmd":["c"]}`},
		{"environment", []string{"ENV A=2 B=$A", "ENV C=x$B"}, `{"Env":["A=2","B=1","C=x1"]}`},
		{"labels", []string{"LABEL m=2"}, `{"Labels":{"l":"1","m":"2"}}`},
		{"ports", []string{"EXPOSE 80 90-91/udp"}, `{"ExposedPorts":{"80/tcp":{},"90/udp":{},"91/udp":{}}}`},
		{"a folder below", []string{"WORKDIR sub", "WORKDIR $A"}, `{"WorkingDir":"/w/sub/1"}`},
		{"a folder", []string{"WORKDIR /x/../y"}, `{"WorkingDir":"/y"}`},
		{"others", []string{"USER me", "VOLUME /v", "STOPSIGNAL SIGINT", "ONBUILD RUN x"}, `{"User":"me","Volumes":{"/v":{}},"StopSignal":"SIGINT","OnBuild":["RUN x"]}`},
		{"health", []string{"HEALTHCHECK --retries=3 CMD true"}, `{"Healthcheck":{"Test":["CMD-SHELL","true"],"Retries":3}}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Apply(&start, c.lines)
			if err != nil {
				t.Fatal(err)
			}
			want := Clone(&start)
			if err := json.Unmarshal([]byte(c.want), want); err != nil {
				t.Fatal(err)
			}
			a, _ := json.Marshal(want)
			b, _ := json.Marshal(got)
			if diff := cmp.Diff(string(a), string(b)); diff != "" {
				t.Error(diff)
			}
		})
	}
	if start.Labels["m"] != "" || start.Env[0] != "A=1" {
		t.Errorf("what was there changed: %+v", start)
	}
}

func TestRefused(t *testing.T) {
	for line, want := range map[string]string{
		"RUN x":           "RUN is not a valid change command",
		"FROM x":          "FROM is not a valid change command",
		"STOPSIGNAL NONE": "invalid signal: NONE",
		"EXPOSE x":        "invalid containerPort: x",
		"EXPOSE 1/x":      "invalid proto: x",
	} {
		_, err := Apply(&container.Config{}, []string{line})
		if err == nil || err.Error() != want || !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
}
