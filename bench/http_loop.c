/* What bench/http.py measures mer against: each line of stdin is POSTed to a URL by one handle of libcurl, and
 * the answer is a line of stdout. */
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char *argv[])
{
	char line[65536];
	CURL *easy = argc == 2 ? curl_easy_init() : NULL;
	struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/octet-stream");
	if (easy == NULL || headers == NULL)
		return EXIT_FAILURE;
	(void)curl_easy_setopt(easy, CURLOPT_URL, argv[1]);
	(void)curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
	(void)curl_easy_setopt(easy, CURLOPT_WRITEDATA, stdout);
	while (fgets(line, sizeof line, stdin) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		(void)curl_easy_setopt(easy, CURLOPT_POSTFIELDS, line);
		if (curl_easy_perform(easy) != CURLE_OK)
			return EXIT_FAILURE;
		(void)putchar('\n');
		(void)fflush(stdout);
	}
	curl_slist_free_all(headers);
	curl_easy_cleanup(easy);
	return EXIT_SUCCESS;
}
