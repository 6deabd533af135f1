package containers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"text/template"

	api "github.com/moby/moby/api/types/container"

	"github.com/gantry-containers/gantry/engine/container"
	"github.com/gantry-containers/gantry/engine/stdio"
)

// completeLog puts the engine's default driver and options where the client said nothing, and checks the options.
func completeLog(cfg *api.LogConfig, s Settings) error {
	if cfg.Type == "" {
		cfg.Type = s.log().Type
	}
	options := map[string]string{}
	if cfg.Type == s.log().Type {
		maps.Copy(options, s.log().Config)
	}
	maps.Copy(options, cfg.Config)
	cfg.Config = options
	if s.CheckLog == nil {
		return nil
	}
	return s.CheckLog(cfg.Type, cfg.Config)
}

// logOf is where a container's output goes, for the keeper; nil for nowhere.
func logOf(c *container.Container, dir string) (*stdio.Log, error) {
	cfg := c.HostConfig.LogConfig
	l := &stdio.Log{Driver: cfg.Type, Options: cfg.Config}
	switch cfg.Type {
	case "none":
		return nil, nil
	case "local":
		l.Path = filepath.Join(dir, "local-logs", "container.log")
		if err := os.MkdirAll(filepath.Dir(l.Path), 0o700); err != nil {
			return nil, err
		}
	default:
		l.Path = filepath.Join(dir, c.ID+"-json.log")
	}
	var err error
	l.Attrs, err = logAttributes(c)
	return l, err
}

// logAttributes are what goes into every entry: labels and variables that the options name, and the tag.
func logAttributes(c *container.Container) (map[string]string, error) {
	options := c.HostConfig.LogConfig.Config
	env := map[string]string{}
	for _, e := range c.Config.Env {
		if k, v, ok := strings.Cut(e, "="); ok {
			env[k] = v
		}
	}
	attrs := map[string]string{}
	for _, from := range []struct {
		option string
		values map[string]string
	}{{"labels", c.Config.Labels}, {"env", env}} {
		if err := pick(attrs, from.values, options[from.option], options[from.option+"-regex"]); err != nil {
			return nil, err
		}
	}
	if tag, ok := options["tag"]; ok && tag != "" {
		t, err := logTag(c, tag)
		if err != nil {
			return nil, err
		}
		attrs["tag"] = t
	}
	if len(attrs) == 0 {
		return nil, nil
	}
	return attrs, nil
}

// pick copies values whose keys are in a list, or match an expression.
func pick(to, from map[string]string, list, expression string) error {
	for k := range strings.SplitSeq(list, ",") {
		if v, ok := from[k]; ok {
			to[k] = v
		}
	}
	if expression == "" {
		return nil
	}
	re, err := regexp.Compile(expression)
	if err != nil {
		return err
	}
	for k, v := range from {
		if re.MatchString(k) {
			to[k] = v
		}
	}
	return nil
}

// tagged is what a tag's template may name.
type tagged struct {
	ID, FullID, Name, ImageID, ImageFullID, ImageName, Command, Hostname, DaemonName string
}

// tagFunctions are those of Docker's templates.
var tagFunctions = template.FuncMap{
	"json": func(v any) (string, error) {
		b, err := json.Marshal(v)
		return string(b), err
	},
	"split": strings.Split,
	"join":  strings.Join,
	"lower": strings.ToLower,
	"upper": strings.ToUpper,
	"title": func(s string) string {
		if s == "" {
			return s
		}
		return strings.ToUpper(s[:1]) + s[1:]
	},
	"truncate": func(s string, n int) string {
		if n >= 0 && len(s) > n {
			return s[:n]
		}
		return s
	},
}

func logTag(c *container.Container, tag string) (string, error) {
	t, err := template.New("log-tag").Funcs(tagFunctions).Parse(tag)
	if err != nil {
		return "", err
	}
	hostname, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("logger: can not resolve hostname: %w", err)
	}
	image := c.Image.Target.Digest.String()
	short := c.Image.Target.Digest.Encoded
	v := tagged{
		ID: c.ID[:12], FullID: c.ID, Name: c.Name, ImageFullID: image, ImageName: c.Config.Image,
		Command: strings.Join(append([]string{c.Path}, c.Args...), " "), Hostname: hostname, DaemonName: "docker",
	}
	if image != "" {
		v.ImageID = short()[:min(12, len(short()))]
	}
	var b bytes.Buffer
	err = t.Execute(&b, v)
	return b.String(), err
}
