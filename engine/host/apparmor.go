package host

import (
	"fmt"

	"github.com/moby/profiles/apparmor"
)

// AppArmorProfile is the name of the profile that containers get where AppArmor is on.
const AppArmorProfile = "docker-default"

// LoadAppArmor loads the default profile if the kernel does not have it. It is called again before containers start:
// updates of the system unload what they do not know.
func LoadAppArmor() error {
	loaded, err := apparmor.IsLoaded(AppArmorProfile)
	if err != nil {
		return fmt.Errorf("Could not check if %s AppArmor profile was loaded: %w", AppArmorProfile, err) //nolint:staticcheck // clients know these words
	}
	if loaded {
		return nil
	}
	if err := apparmor.InstallDefault(AppArmorProfile); err != nil {
		return fmt.Errorf("AppArmor enabled on system but the %s profile could not be loaded: %w", AppArmorProfile, err)
	}
	return nil
}
