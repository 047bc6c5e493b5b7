"""What several tests share: real servers, seams and fakes. No test lives here."""
