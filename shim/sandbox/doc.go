// Package sandbox is containerd's sandbox service: it makes the shim that of a pod, which holds the namespaces that the
// pod's containers join, and lives until ShutdownSandbox. The containers themselves are the task service's, in the
// same process.
//
// The namespaces are held by a pause process (package pause), which the OCI runtime starts as a container of its
// own, with the sandbox's id. So the shim makes no namespaces, id maps or cgroups itself; the pause process
// sees nothing of the host and has no capabilities, though containers with the pod's pid namespace can look
// at it as process 1; and what a killed shim leaves is removed as any container is, by its delete action.
//
// What the pod wants comes in one of two ways. The CRI plugin (sandboxer = "shim") gives no spec; its
// PodSandboxConfig is CreateSandbox's options. Its containers also get from the shim what the plugin makes for
// sandboxes of its own: resolv.conf, hostname and a common /dev/shm ([Service.Furnish]). Other clients, such as ctr,
// give a spec, which is the bundle's config.json: its namespaces, names, sysctls and cgroup count. Neither gives an
// image: one is refused. A new user namespace needs bundles that its root can reach: containerd's own are closed.
//
// As containerd's controller expects, events of sandboxes are the daemon's to publish, and the containers of a
// stopped sandbox are the client's to stop; those in the pod's pid namespace end with its process 1.
package sandbox
