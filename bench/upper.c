/* A `once` model that does next to nothing: its input in upper case. */
#include <ctype.h>
#include <unistd.h>

int main(void)
{
	static char bytes[65536];
	ssize_t n;
	while ((n = read(0, bytes, sizeof bytes)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			bytes[i] = (char)toupper((unsigned char)bytes[i]);
		if (write(1, bytes, (size_t)n) != n)
			return 1;
	}
	return n < 0;
}
