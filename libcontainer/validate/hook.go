package validate

import "github.com/opencontainers/runtime-spec/specs-go"

func (c *checker) hooks(h *specs.Hooks) {
	if h == nil {
		return
	}
	c.hookList("hooks.prestart", h.Prestart) //nolint:staticcheck // SA1019: deprecated, and a MUST for whoever still uses it
	c.hookList("hooks.createRuntime", h.CreateRuntime)
	c.hookList("hooks.createContainer", h.CreateContainer)
	c.hookList("hooks.startContainer", h.StartContainer)
	c.hookList("hooks.poststart", h.Poststart)
	c.hookList("hooks.poststop", h.Poststop)
}

func (c *checker) hookList(path string, list []specs.Hook) {
	for i := range list {
		h := &list[i]
		c.addAt(path, i, ".path", refHooks, absoluteRule(h.Path))
		for j, arg := range h.Args {
			if rule := nulRule(arg); rule != "" {
				c.add(element(element(path, i)+".args", j), refHooks, rule)
			}
		}
		for j, env := range h.Env {
			if rule := envRule(env); rule != "" {
				c.add(element(element(path, i)+".env", j), refHooks, rule)
			}
		}
		if h.Timeout != nil && *h.Timeout <= 0 {
			c.addAt(path, i, ".timeout", refHooks, intRule(int64(*h.Timeout), "greater than 0 seconds"))
		}
	}
}
